//! A server over TLS, with a certificate of a private authority, before a plain one.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::server::Server;

/// Passes requests on to a plain server; stops when dropped.
pub struct Tls {
    address: SocketAddr,
    /// The authority's certificate, in PEM.
    pub authority: String,
    stopped: Arc<AtomicBool>,
}

impl Tls {
    /// Before this server.
    pub fn before(server: &Server) -> Tls {
        let mut authority = CertificateParams::new(Vec::new()).expect("parameters of a certificate");
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        authority.distinguished_name.push(rcgen::DnType::CommonName, "authority of a test");
        let authority =
            CertifiedIssuer::self_signed(authority, KeyPair::generate().expect("a key")).expect("a certificate");
        let key = KeyPair::generate().expect("a key");
        let leaf = CertificateParams::new(vec!["127.0.0.1".into()]).expect("parameters of a certificate");
        let leaf = leaf.signed_by(&key, &authority).expect("a certificate");
        let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("a provider with the usual versions")
            .with_no_client_auth()
            .with_single_cert(vec![leaf.der().clone()], PrivatePkcs8KeyDer::from(key.serialize_der()).into())
            .expect("a certificate that fits its key");
        let config = Arc::new(config);
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port on the loopback interface");
        let address = listener.local_addr().expect("a bound socket has an address");
        let stopped = Arc::new(AtomicBool::new(false));
        let (stop, behind) = (Arc::clone(&stopped), server.address());
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if stop.load(Ordering::SeqCst) {
                    return;
                }
                let config = Arc::clone(&config);
                // A client that does not like the certificate goes away.
                std::thread::spawn(move || pass_on(stream, config, behind));
            }
        });
        Tls { address, authority: authority.pem(), stopped }
    }

    /// Its address, without a slash at the end.
    pub fn url(&self) -> String {
        format!("https://{}", self.address)
    }
}

/// One request and its answer, which ends with the connection.
fn pass_on(stream: TcpStream, config: Arc<ServerConfig>, behind: SocketAddr) -> std::io::Result<()> {
    let connection = ServerConnection::new(config).map_err(std::io::Error::other)?;
    let mut client = StreamOwned::new(connection, stream);
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        client.read_exact(&mut byte)?;
        head.extend(byte);
    }
    let mut server = TcpStream::connect(behind)?;
    server.write_all(&head)?;
    server.shutdown(Shutdown::Write)?;
    let mut answer = Vec::new();
    server.read_to_end(&mut answer)?;
    let end = answer.iter().position(|b| *b == b'\n').map_or(0, |at| at + 1);
    client.write_all(&answer[..end])?;
    client.write_all(b"Connection: close\r\n")?;
    client.write_all(&answer[end..])?;
    client.conn.send_close_notify();
    client.flush()
}

impl Drop for Tls {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::SeqCst);
        // The listener only looks at the flag when somebody calls.
        let _ = TcpStream::connect(self.address);
    }
}
