//! XChaCha20-Poly1305 (draft-irtf-cfrg-xchacha-03): ChaCha20-Poly1305 (RFC 8439) under a key
//! that HChaCha20 makes of the key and the first 16 bytes of the nonce, with the other 8.
//!
//! What is sealed is short. `ring` takes a fifth of the time for a short text that a cipher
//! written for long ones takes.

use chacha20::{R20, hchacha};
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use zeroize::Zeroizing;

pub(super) const NONCE_BYTES: usize = 24;

/// What is sealed is so many bytes longer.
const TAG_BYTES: usize = 16;

/// Seals a text and binds `data` to it. `None` only if it is longer than the cipher allows.
pub(super) fn seal(
    key: &[u8; 32],
    nonce: &[u8; NONCE_BYTES],
    data: &[u8],
    text: &[u8],
) -> Option<Vec<u8>> {
    let (key, nonce) = inner(key, nonce)?;
    let mut sealed = Vec::with_capacity(text.len() + TAG_BYTES);
    sealed.extend_from_slice(text);
    key.seal_in_place_append_tag(nonce, Aad::from(data), &mut sealed).ok()?;
    Some(sealed)
}

/// Opens what was sealed; `None` if text, data, nonce or key is another.
pub(super) fn open(
    key: &[u8; 32],
    nonce: &[u8; NONCE_BYTES],
    data: &[u8],
    sealed: &[u8],
) -> Option<Zeroizing<Vec<u8>>> {
    let (key, nonce) = inner(key, nonce)?;
    let mut text = Zeroizing::new(sealed.to_vec());
    let length = key.open_in_place(nonce, Aad::from(data), &mut text).ok()?.len();
    text.truncate(length);
    Some(text)
}

/// The key and the nonce of the cipher within. They are good for this nonce alone.
fn inner(key: &[u8; 32], nonce: &[u8; NONCE_BYTES]) -> Option<(LessSafeKey, Nonce)> {
    let (first, rest) = nonce.split_first_chunk::<16>()?;
    let within: [u8; 32] = hchacha::<R20>(key.into(), first.into()).into();
    let within = Zeroizing::new(within);
    let key = UnboundKey::new(&CHACHA20_POLY1305, &*within).ok()?;
    let mut nonce = [0; 12];
    nonce[4..].copy_from_slice(rest);
    Some((LessSafeKey::new(key), Nonce::assume_unique_for_key(nonce)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(hex: &str) -> Vec<u8> {
        let hex: Vec<u8> = hex.bytes().filter(u8::is_ascii_hexdigit).collect();
        let digits = hex.chunks(2).map(|pair| std::str::from_utf8(pair).unwrap());
        digits.map(|pair| u8::from_str_radix(pair, 16).unwrap()).collect()
    }

    /// The test vector of the draft's appendix A.3.1.
    #[test]
    fn the_vector_of_the_draft() {
        const TEXT: &[u8] = b"Ladies and Gentlemen of the class of '99: If I could offer you \
                              only one tip for the future, sunscreen would be it.";
        let key: [u8; 32] = std::array::from_fn(|index| 0x80 + u8::try_from(index).unwrap());
        let nonce: [u8; 24] = std::array::from_fn(|index| 0x40 + u8::try_from(index).unwrap());
        let data = bytes("50515253c0c1c2c3c4c5c6c7");
        let sealed = bytes(
            "bd6d179d3e83d43b9576579493c0e939572a1700252bfaccbed2902c21396cbb\
             731c7f1b0b4aa6440bf3a82f4eda7e39ae64c6708c54c216cb96b72e1213b452\
             2f8c9ba40db5d945b11b69b982c1bb9e3f3fac2bc369488f76b2383565d3fff9\
             21f9664c97637da9768812f615c68b13b52e\
             c0875924c1c7987947deafd8780acf49",
        );
        assert_eq!(seal(&key, &nonce, &data, TEXT).unwrap(), sealed);
        assert_eq!(open(&key, &nonce, &data, &sealed).unwrap().as_slice(), TEXT);
        for at in [0, TEXT.len(), sealed.len() - 1] {
            let mut altered = sealed.clone();
            altered[at] ^= 1;
            assert_eq!(open(&key, &nonce, &data, &altered), None);
        }
        assert_eq!(open(&key, &nonce, b"other", &sealed), None);
        assert_eq!(open(&key, &nonce, &data, b"short"), None);
    }
}
