//! Puts headers of RPM together, as `headerExport` of `lib/header.c` does.

/// The tag of the entry that holds together what must not change, and bytes of an entry of the index.
const REGION: u32 = 63;
const ENTRY: usize = 16;
/// Types of values.
const NUMBERS: u32 = 4;
const TEXT: u32 = 6;
const BYTES: u32 = 7;
const TEXTS: u32 = 8;
const TRANSLATED: u32 = 9;

/// A value of a tag.
#[derive(Clone, Copy)]
pub enum Value<'a> {
    /// One string.
    Text(&'a str),
    /// Strings.
    Texts(&'a [&'a str]),
    /// A string that could have translations, and has none.
    Translated(&'a str),
    /// Numbers of 32 bits.
    Numbers(&'a [u32]),
    /// Bytes.
    #[cfg_attr(not(test), allow(dead_code, reason = "headers of packages have such values, and tests make those"))]
    Bytes(&'a [u8]),
}

/// A header to be.
#[derive(Default)]
pub struct Maker {
    index: Vec<u8>,
    store: Vec<u8>,
}

impl Maker {
    /// Adds a tag; rpm has them in order.
    pub fn add(&mut self, tag: u32, value: &Value<'_>) {
        while matches!(value, Value::Numbers(_)) && !self.store.len().is_multiple_of(4) {
            self.store.push(0);
        }
        let offset = self.store.len() as u32;
        let mut text = |text: &&str| self.store.extend([text.as_bytes(), b"\0"].concat());
        let (kind, count) = match value {
            Value::Text(one) => {
                text(one);
                (TEXT, 1)
            }
            Value::Translated(one) => {
                text(one);
                (TRANSLATED, 1)
            }
            Value::Texts(texts) => {
                texts.iter().for_each(text);
                (TEXTS, texts.len())
            }
            Value::Numbers(numbers) => {
                numbers.iter().for_each(|number| self.store.extend(number.to_be_bytes()));
                (NUMBERS, numbers.len())
            }
            Value::Bytes(bytes) => {
                self.store.extend(*bytes);
                (BYTES, bytes.len())
            }
        };
        self.index.extend(entry(tag, kind, offset, count as u32));
    }

    /// Makes what there is so far the immutable region: what is added later is not of the package as it was signed.
    pub fn seal(&mut self) {
        let size = self.index.len() + ENTRY;
        self.index.splice(..0, entry(REGION, BYTES, self.store.len() as u32, ENTRY as u32));
        // The end of a region tells where its index begins, backwards.
        self.store.extend(entry(REGION, BYTES, (size as u32).wrapping_neg(), ENTRY as u32));
    }

    /// The header without its magic.
    pub fn blob(&self) -> Vec<u8> {
        let lengths = [self.index.len() / ENTRY, self.store.len()].map(|length| (length as u32).to_be_bytes());
        [lengths.as_flattened(), &self.index, &self.store].concat()
    }
}

fn entry(tag: u32, kind: u32, offset: u32, count: u32) -> Vec<u8> {
    [tag, kind, offset, count].map(u32::to_be_bytes).concat()
}

/// A header of these values, without its magic and without a region.
#[cfg(test)]
pub fn make(values: &[(u32, Value<'_>)]) -> Vec<u8> {
    let mut maker = Maker::default();
    values.iter().for_each(|(tag, value)| maker.add(*tag, value));
    maker.blob()
}
