//! Connections that speak TLS where it is not spoken.

/// The beginning of a record with a handshake (RFC 8446, section 5.1).
const HANDSHAKE: &[u8] = &[0x16, 0x03];
/// The alert `handshake_failure` (RFC 5246, section 7.2), as the answer to a client that speaks TLS.
pub(crate) const HANDSHAKE_FAILURE: &[u8] = &[0x15, 0x03, 0x01, 0x00, 0x02, 0x02, 0x28];

/// Reports whether the first bytes of a connection are TLS.
pub(crate) fn is_spoken(first: &[u8]) -> bool {
    first.starts_with(HANDSHAKE)
}
