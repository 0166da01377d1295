use pgp::composed::{ArmorOptions, KeyType, SignedPublicSubKey};
use pgp::crypto::hash::HashAlgorithm;
use pgp::packet::{KeyFlags, Notation, PubKeyInner, PublicKey, Subpacket};
use pgp::ser::Serialize as _;
use pgp::types::{Duration as PgpDuration, KeyDetails as _, KeyVersion, Password, Timestamp};

use super::testkeys::*;
use super::*;

#[test]
fn good_inline() {
    let key = key();
    let ring = keyring(&[&public(&key)]);
    let message = inline(TEXT, &[sign_text(&key.primary_key, TEXT)]);
    let text = ring.inline(message.as_bytes(), now()).expect("good");
    assert_eq!(String::from_utf8_lossy(&text), TEXT.replace("last \t", "last"));
    for same in [message.replace('\n', "\r\n"), message.replace("one\n", "one  \n"), format!("\n{message}\n")] {
        assert_eq!(ring.inline(same.as_bytes(), now()).expect("good too"), text);
    }
}

#[test]
fn messages_of_the_library_itself() {
    let key = secret(KeyType::Ed25519Legacy, "x");
    let message = pgp::composed::CleartextSignedMessage::sign(
        rand::thread_rng(),
        "one\n- two\n",
        &key.primary_key,
        &Password::empty(),
    );
    let message = message.and_then(|m| m.to_armored_string(ArmorOptions::default())).expect("a message");
    let text = keyring(&[&public(&key)]).verify_inline(message.as_bytes()).expect("good");
    assert_eq!(String::from_utf8_lossy(&text).trim_end(), "one\n- two");
}

#[test]
fn good_detached() {
    let key = key();
    let ring = keyring(&[&public(&key)]);
    let data = b"binary\0\r\n data \n";
    for signature in [sign(&key.primary_key, data), sign(&key.secret_subkeys[0].key, data)] {
        let text = armoured(std::slice::from_ref(&signature));
        ring.detached(data, text.as_bytes(), now()).expect("armoured");
        ring.detached(data, format!("{text}{text}").as_bytes(), now()).expect("two blocks");
        let mut bytes = Vec::new();
        pgp::packet::PacketTrait::to_writer_with_header(&signature, &mut bytes).expect("bytes");
        ring.detached(data, &bytes, now()).expect("binary");
        ring.verify_detached(data, &bytes).expect("at the real time");
        let changed = ring.detached(b"binary\0\n data \n", &bytes, now());
        assert!(matches!(changed, Err(SignatureError::Bad { .. })), "{changed:?}");
    }
}

#[test]
fn a_changed_byte_anywhere() {
    let key = key();
    let ring = keyring(&[&public(&key)]);
    let message = inline(TEXT, &[sign_text(&key.primary_key, TEXT)]).into_bytes();
    let start = message.windows(6).position(|w| w == b"Origin").expect("the text");
    let end = message.windows(8).position(|w| w == b"last \t\n-").expect("the last line");
    for i in start..end + 4 {
        let mut changed = message.clone();
        changed[i] ^= 1;
        let result = ring.inline(&changed, now());
        assert!(
            matches!(result, Err(SignatureError::Bad { .. } | SignatureError::Malformed(_))),
            "byte {i}: {result:?}"
        );
    }
}

#[test]
fn unsigned_and_unreadable() {
    let ring = keyring(&[&public(&key())]);
    for message in ["", "Origin: Test\n", "<html>"] {
        assert_eq!(ring.inline(message.as_bytes(), now()), Err(SignatureError::Unsigned));
        assert_eq!(ring.detached(b"data", message.as_bytes(), now()), Err(SignatureError::Unsigned));
    }
    let empty = "-----BEGIN PGP SIGNATURE-----\n\n-----END PGP SIGNATURE-----\n";
    assert!(ring.detached(b"data", empty.as_bytes(), now()).is_err());
    assert!(ring.detached(b"data", &[0x88, 0xff, 1, 2, 3], now()).is_err());
    assert!(ring.detached(b"data", &public(&key()).to_bytes().expect("bytes"), now()).is_err());
}

#[test]
fn another_key() {
    let (ours, theirs) = (key(), key());
    let ring = keyring(&[&public(&ours)]);
    let error = ring.inline(inline(TEXT, &[sign_text(&theirs.primary_key, TEXT)]).as_bytes(), now());
    let expected = SignatureError::UnknownKey {
        signers: format!("{:X}", theirs.fingerprint()),
        accepted: format!("archive.gpg: {:X}", ours.fingerprint()),
    };
    assert_eq!(error, Err(expected));
    // The same, but it claims to be by ours.
    let mut lie = config(&theirs.primary_key, SignatureType::Binary, SIGNED, vec![]);
    lie.hashed_subpackets[1] =
        Subpacket::regular(SubpacketData::IssuerFingerprint(ours.fingerprint())).expect("a subpacket");
    let lie = lie.sign(&theirs.primary_key, &Password::empty(), &b"data"[..]).expect("a signature");
    let error = ring.detached(b"data", armoured(&[lie]).as_bytes(), now());
    assert!(matches!(error, Err(SignatureError::Bad { .. })), "{error:?}");
    let nothing = Keyring::parse(&[]).expect("an empty keyring");
    assert!(nothing.detached(b"data", armoured(&[sign(&ours.primary_key, b"data")]).as_bytes(), now()).is_err());
}

#[test]
fn one_good_signature_among_others() {
    let (ours, theirs) = (key(), key());
    let ring = keyring(&[&public(&ours)]);
    let good = sign_text(&ours.primary_key, TEXT);
    let bad = sign_text(&ours.primary_key, "other\n");
    let unknown = sign_text(&theirs.primary_key, TEXT);
    for signatures in [vec![unknown.clone(), good.clone()], vec![bad.clone(), unknown.clone(), good.clone()]] {
        ring.inline(inline(TEXT, &signatures).as_bytes(), now()).expect("one is good");
    }
    let result = ring.inline(inline(TEXT, &[unknown.clone(), bad]).as_bytes(), now());
    assert!(matches!(result, Err(SignatureError::Bad { .. })), "{result:?}");
    let many = vec![unknown; MAX_SIGNATURES + 1];
    let result = ring.inline(inline(TEXT, &many).as_bytes(), now());
    assert!(matches!(result, Err(SignatureError::Malformed(_))), "{result:?}");
}

#[test]
fn weak_hashes() {
    let key = secret(KeyType::Rsa(2048), "x");
    let ring = keyring(&[&public(&key)]);
    for hash in [HashAlgorithm::Md5, HashAlgorithm::Sha1, HashAlgorithm::Ripemd160, HashAlgorithm::Sha224] {
        let mut config = config(&key.primary_key, SignatureType::Binary, SIGNED, vec![]);
        config.hash_alg = hash;
        let signature = config.sign(&key.primary_key, &Password::empty(), &b"data"[..]).expect("a signature");
        let reason = refusal(ring.detached(b"data", armoured(&[signature]).as_bytes(), now()));
        assert!(reason.contains("too weak"), "{hash}: {reason}");
    }
    ring.detached(b"data", armoured(&[sign(&key.primary_key, b"data")]).as_bytes(), now()).expect("SHA-256 is good");
}

#[test]
fn times_of_signatures() {
    let key = key();
    let ring = keyring(&[&public(&key)]);
    let lifetime = Subpacket::regular(SubpacketData::SignatureExpirationTime(PgpDuration::from_secs(YEAR)));
    let mortal = config(&key.primary_key, SignatureType::Binary, SIGNED, vec![lifetime.expect("a subpacket")])
        .sign(&key.primary_key, &Password::empty(), &b"data"[..])
        .expect("a signature");
    let mortal = armoured(&[mortal]);
    ring.detached(b"data", mortal.as_bytes(), at(SIGNED + YEAR - 1)).expect("not yet");
    assert!(refusal(ring.detached(b"data", mortal.as_bytes(), at(SIGNED + YEAR))).contains("expired on 2023-09-13"));
    let plain = armoured(&[sign(&key.primary_key, b"data")]);
    ring.detached(b"data", plain.as_bytes(), at(SIGNED - 3600)).expect("clocks differ");
    assert!(refusal(ring.detached(b"data", plain.as_bytes(), at(SIGNED - 3601))).contains("future"));
    let early = config(&key.primary_key, SignatureType::Binary, CREATED - 1, vec![])
        .sign(&key.primary_key, &Password::empty(), &b"data"[..])
        .expect("a signature");
    assert!(refusal(ring.detached(b"data", armoured(&[early]).as_bytes(), now())).contains("older than the key"));
    let mut dateless = config(&key.primary_key, SignatureType::Binary, SIGNED, vec![]);
    dateless.hashed_subpackets.remove(0);
    let dateless = dateless.sign(&key.primary_key, &Password::empty(), &b"data"[..]).expect("a signature");
    assert!(refusal(ring.detached(b"data", armoured(&[dateless]).as_bytes(), now())).contains("no date"));
}

#[test]
fn kinds_of_signatures() {
    let key = key();
    let ring = keyring(&[&public(&key)]);
    let of_a_key = config(&key.primary_key, SignatureType::Key, SIGNED, vec![])
        .sign_key(&key.primary_key, &Password::empty(), key.primary_key.public_key())
        .expect("a signature");
    assert!(refusal(ring.detached(b"", armoured(&[of_a_key]).as_bytes(), now())).contains("not a signature of a file"));
    let notation = Notation { readable: true, name: "a@example.org".into(), value: "b".into() };
    for (critical, counts) in [(false, true), (true, false)] {
        let data = SubpacketData::Notation(notation.clone());
        let notation = if critical { Subpacket::critical(data) } else { Subpacket::regular(data) };
        let signature = config(&key.primary_key, SignatureType::Binary, SIGNED, vec![notation.expect("a subpacket")])
            .sign(&key.primary_key, &Password::empty(), &b"data"[..])
            .expect("a signature");
        assert_eq!(ring.detached(b"data", armoured(&[signature]).as_bytes(), now()).is_ok(), counts);
    }
}

#[test]
fn expiry_of_keys() {
    let key = key();
    let message = inline(TEXT, &[sign_text(&key.primary_key, TEXT)]);
    let lifetime = |seconds| vec![SubpacketData::KeyExpirationTime(PgpDuration::from_secs(seconds))];
    let verify = |certificate: &SignedPublicKey| keyring(&[certificate]).inline(message.as_bytes(), now());
    // It expired before the signature, after it, never; and the newest self-signature decides.
    assert!(refusal(verify(&certified(&key, CREATED, lifetime(YEAR)))).contains("had expired on 2021-09-13"));
    verify(&certified(&key, CREATED, lifetime(2 * YEAR + 1))).expect("it was valid when it signed");
    verify(&certified(&key, CREATED, lifetime(0))).expect("no end");
    verify(&certified(&key, CREATED, vec![])).expect("no end");
    let mut prolonged = certified(&key, CREATED, lifetime(YEAR));
    let newer = certified(&key, CREATED + 10, lifetime(10 * YEAR));
    prolonged.details.users[0].signatures.extend(newer.details.users[0].signatures.clone());
    verify(&prolonged).expect("prolonged");
    let mut shortened = certified(&key, CREATED + 20, lifetime(YEAR));
    shortened.details.users[0].signatures.extend(newer.details.users[0].signatures.clone());
    assert!(refusal(verify(&shortened)).contains("had expired"));
}

#[test]
fn keys_not_meant_for_it() {
    let key = key();
    let message = inline(TEXT, &[sign_text(&key.primary_key, TEXT)]);
    let verify = |certificate: &SignedPublicKey| keyring(&[certificate]).inline(message.as_bytes(), now());
    let mut flags = KeyFlags::default();
    flags.set_certify(true);
    assert!(
        refusal(verify(&certified(&key, CREATED, vec![SubpacketData::KeyFlags(flags.clone())]))).contains("not meant")
    );
    flags.set_sign(true);
    verify(&certified(&key, CREATED, vec![SubpacketData::KeyFlags(flags)])).expect("meant for it");
    // The self-signature is another key's.
    let mut foreign = certified(&key, CREATED, vec![]);
    foreign.details = certified(&self::key(), CREATED, vec![]).details;
    assert!(refusal(verify(&foreign)).contains("no valid signature of its own"));
}

#[test]
fn revoked_keys() {
    let key = key();
    let signer = &key.primary_key;
    let message = inline(TEXT, &[sign_text(signer, TEXT)]);
    let mut certificate = public(&key);
    let revocation = config(signer, SignatureType::KeyRevocation, SIGNED + 10, vec![])
        .sign_key(signer, &Password::empty(), &certificate.primary_key)
        .expect("a revocation");
    certificate.details.revocation_signatures = vec![revocation];
    assert!(refusal(keyring(&[&certificate]).inline(message.as_bytes(), now())).contains("revoked"));
    // Only the key itself can revoke it.
    let other = self::key();
    let forged = config(&other.primary_key, SignatureType::KeyRevocation, SIGNED, vec![])
        .sign_key(&other.primary_key, &Password::empty(), &certificate.primary_key)
        .expect("a revocation");
    certificate.details.revocation_signatures = vec![forged];
    keyring(&[&certificate]).inline(message.as_bytes(), now()).expect("the revocation is not its own");
}

#[test]
fn subkeys() {
    let key = key();
    let (primary, subkey) = (&key.primary_key, &key.secret_subkeys[0].key);
    let message = inline(TEXT, &[sign_text(subkey, TEXT)]);
    let bound = |key_flags: bool, lifetime: u32, back: Option<Signature>| {
        let mut flags = KeyFlags::default();
        flags.set_sign(key_flags);
        let mut more =
            vec![SubpacketData::KeyFlags(flags), SubpacketData::KeyExpirationTime(PgpDuration::from_secs(lifetime))];
        more.extend(back.map(|s| SubpacketData::EmbeddedSignature(Box::new(s))));
        let more = more.into_iter().map(|d| Subpacket::regular(d).expect("a subpacket")).collect();
        config(primary, SignatureType::SubkeyBinding, CREATED, more)
            .sign_subkey_binding(primary, primary.public_key(), &Password::empty(), subkey.public_key())
            .expect("a binding")
    };
    let back = || {
        config(subkey, SignatureType::KeyBinding, CREATED, vec![])
            .sign_primary_key_binding(subkey, subkey.public_key(), &Password::empty(), primary.public_key())
            .expect("a back signature")
    };
    let verify = |signatures: Vec<Signature>| {
        let mut certificate = certified(&key, CREATED, vec![]);
        certificate.public_subkeys = vec![SignedPublicSubKey { key: subkey.public_key().clone(), signatures }];
        keyring(&[&certificate]).inline(message.as_bytes(), now())
    };
    verify(vec![bound(true, 0, Some(back()))]).expect("bound");
    assert!(refusal(verify(vec![bound(true, 0, None)])).contains("did not confirm"));
    assert!(refusal(verify(vec![bound(false, 0, Some(back()))])).contains("not meant for signing"));
    assert!(refusal(verify(vec![bound(true, YEAR, Some(back()))])).contains("had expired"));
    let stranger = self::key();
    let theirs = stranger.secret_subkeys[0].signatures.clone();
    assert!(refusal(verify(theirs)).contains("not bound"));
    let revocation = config(primary, SignatureType::SubkeyRevocation, SIGNED, vec![])
        .sign_subkey_binding(primary, primary.public_key(), &Password::empty(), subkey.public_key())
        .expect("a revocation");
    assert!(refusal(verify(vec![bound(true, 0, Some(back())), revocation])).contains("was revoked"));
}

#[test]
fn short_rsa_keys() {
    for (bits, accepted) in [(1024, false), (2048, true)] {
        let (params, _) = KeyType::Rsa(bits).generate(rand::thread_rng()).expect("a key");
        let algorithm = KeyType::Rsa(bits).to_alg();
        let inner = PubKeyInner::new(KeyVersion::V4, algorithm, Timestamp::from_secs(CREATED), None, params);
        let key = inner.and_then(PublicKey::from_inner).expect("a key");
        assert_eq!(certificate::weak(&key).is_none(), accepted, "{bits}");
    }
}

#[test]
fn key_files() {
    let (one, two) = (public(&key()), public(&key()));
    let armour = |k: &SignedPublicKey| k.to_armored_bytes(ArmorOptions::default()).expect("armour");
    let binary = |k: &SignedPublicKey| k.to_bytes().expect("bytes");
    let count = |data: Vec<u8>| {
        Keyring::parse(&[Key { name: "k.asc".into(), data }])
            .map(|k| k.certificates.len())
            .map_err(|e| format!("{e:#}"))
    };
    assert_eq!(count(armour(&one)), Ok(1));
    assert_eq!(count([b"# a comment\n".to_vec(), armour(&one), armour(&two)].concat()), Ok(2));
    assert_eq!(count(binary(&one)), Ok(1));
    assert_eq!(count([binary(&one), binary(&two)].concat()), Ok(2));
    let secret = key().to_armored_bytes(ArmorOptions::default()).expect("armour");
    let keybox = [&[0; 8][..], b"KBXf", &[0; 100]].concat();
    for (data, words) in [
        (vec![], "no OpenPGP certificate"),
        (b"hello".to_vec(), "no OpenPGP certificate"),
        (secret, "no OpenPGP certificate"),
        (keybox, "gpg --export"),
        (vec![0x99, 0x01, 0x02, 0x03], "certificate"),
    ] {
        let error = count(data).expect_err(words);
        assert!(error.contains("k.asc") && error.contains(words), "{error}");
    }
}

#[test]
fn keyrings_of_gnupg_with_trust_packets() {
    let key = key();
    let certificate = public(&key);
    // An old-format header of packet type 12 and two bytes, after each packet, as ubuntu-archive-keyring.gpg has it.
    let trust = [0xb0, 2, 0, 0];
    let mut data = Vec::new();
    let mut add = |packet: &dyn Fn(&mut Vec<u8>) -> pgp::errors::Result<()>| {
        packet(&mut data).expect("bytes");
        data.extend(trust);
    };
    use pgp::packet::PacketTrait as _;
    add(&|out| certificate.primary_key.to_writer_with_header(out));
    let user = &certificate.details.users[0];
    add(&|out| user.id.to_writer_with_header(out));
    add(&|out| user.signatures[0].to_writer_with_header(out));
    let ring = Keyring::parse(&[Key { name: "ring.gpg".into(), data }]).expect("a keyring");
    ring.detached(b"data", armoured(&[sign(&key.primary_key, b"data")]).as_bytes(), now()).expect("good");
}

#[test]
fn a_damaged_key_never_panics_or_changes_the_text() {
    let key = key();
    let good = public(&key).to_bytes().expect("bytes");
    let message = inline(TEXT, &[sign_text(&key.primary_key, TEXT)]);
    let text = keyring(&[&public(&key)]).inline(message.as_bytes(), now()).expect("good");
    for i in 0..good.len() {
        let mut bad = good.clone();
        bad[i] ^= 0x41;
        bad.truncate(good.len() - i % 7);
        if let Ok(ring) = Keyring::parse(&[Key { name: "k".into(), data: bad }])
            && let Ok(read) = ring.inline(message.as_bytes(), now())
        {
            assert_eq!(read, text, "byte {i}");
        }
    }
}
