//! Digests of texts, and their textual form.

use std::hash::Hasher;

use siphasher::sip::SipHasher13;

/// Returns a prefix and a number in `digits` hex digits. Written by hand because every run makes ids, and formatting
/// would cost more than the rest of that work.
pub(crate) fn hex(prefix: &str, number: u64, digits: u32) -> String {
    let mut text = Vec::with_capacity(prefix.len() + digits as usize);
    text.extend_from_slice(prefix.as_bytes());
    text.extend((0..digits).rev().map(|place| b"0123456789abcdef"[(number >> (4 * place) & 0xf) as usize]));
    String::from_utf8(text).expect("hex digits are text")
}

/// Returns a digest of some texts. It is the same on every machine and in every release.
pub(crate) fn fingerprint(parts: &[&str]) -> u64 {
    Fingerprint::of(parts).digest()
}

/// A digest to which further texts may be added.
#[derive(Clone)]
pub(crate) struct Fingerprint(SipHasher13);

impl Fingerprint {
    pub(crate) fn of(parts: &[&str]) -> Self {
        parts.iter().fold(Self(SipHasher13::new()), |digest, part| digest.and(part))
    }

    pub(crate) fn and(self, part: &str) -> Self {
        self.and_bytes(part.as_bytes())
    }

    pub(crate) fn and_bytes(mut self, part: &[u8]) -> Self {
        self.0.write(part);
        self.0.write_u8(0xff);
        self
    }

    pub(crate) fn digest(&self) -> u64 {
        self.0.finish()
    }
}
