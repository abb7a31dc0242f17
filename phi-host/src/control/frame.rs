//! Frames: four bytes of length, the least significant first, then as many bytes of JSON.

use std::io::{self, Read};

/// Bytes of the length.
const HEAD: usize = 4;

/// Bytes of a request, at most.
pub const REQUEST: usize = 64 << 10;

/// Bytes of an answer, at most.
pub const ANSWER: usize = 4 << 20;

/// A frame that is longer than it may be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TooLong;

/// `content` as a frame.
///
/// # Errors
/// It is longer than `maximum`.
pub fn frame(content: &[u8], maximum: usize) -> Result<Vec<u8>, TooLong> {
    if content.len() > maximum {
        return Err(TooLong);
    }
    let length = content.len() as u32;
    Ok([&length.to_le_bytes(), content].concat())
}

/// A frame that comes in pieces.
#[derive(Default)]
pub struct Assembly {
    bytes: Vec<u8>,
}

impl Assembly {
    /// Whether nothing of a frame is there yet.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Bytes that are missing of the length or, once that is there, of the content: 0 when the frame is
    /// whole.
    ///
    /// # Errors
    /// It is going to be longer than `maximum`.
    pub fn missing(&self, maximum: usize) -> Result<usize, TooLong> {
        let Some(head) = self.bytes.first_chunk::<HEAD>() else {
            return Ok(HEAD - self.bytes.len());
        };
        let length = u32::from_le_bytes(*head) as usize;
        match length <= maximum {
            true => Ok(length + HEAD - self.bytes.len()),
            false => Err(TooLong),
        }
    }

    /// Adds bytes that were missing.
    pub fn add(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// The content of a whole frame; begins anew.
    pub fn take(&mut self) -> Vec<u8> {
        let mut bytes = std::mem::take(&mut self.bytes);
        bytes.drain(..HEAD.min(bytes.len()));
        bytes
    }
}

/// Reads one frame of at most `maximum` bytes.
///
/// # Errors
/// The stream's; it ends within the frame, or the frame is too long.
pub fn read(from: &mut impl Read, maximum: usize) -> io::Result<Vec<u8>> {
    let mut assembly = Assembly::default();
    let mut piece = [0; 16 << 10];
    loop {
        let missing = assembly.missing(maximum).map_err(|TooLong| io::ErrorKind::InvalidData)?;
        if missing == 0 {
            return Ok(assembly.take());
        }
        let room = missing.min(piece.len());
        match from.read(&mut piece[..room]) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => assembly.add(&piece[..count]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_comes_in_any_pieces() {
        let whole = frame(b"{\"a\":1}", 100).unwrap();
        for size in 1..=whole.len() {
            let mut assembly = Assembly::default();
            let mut rest = &whole[..];
            loop {
                let missing = assembly.missing(100).unwrap();
                if missing == 0 {
                    break;
                }
                let (piece, after) = rest.split_at(size.min(missing));
                assembly.add(piece);
                rest = after;
            }
            assert_eq!(assembly.take(), b"{\"a\":1}");
            assert!(assembly.is_empty() && rest.is_empty());
        }
    }

    #[test]
    fn lengths_have_a_limit_before_anything_is_stored() {
        assert_eq!(frame(&[0; 11], 10), Err(TooLong));
        let mut assembly = Assembly::default();
        assembly.add(&[11, 0, 0, 0]);
        assert_eq!(assembly.missing(10), Err(TooLong));
        assert_eq!(assembly.missing(11), Ok(11));
        let endless = read(&mut &[255, 255, 255, 255, 1][..], ANSWER).unwrap_err();
        assert_eq!(endless.kind(), io::ErrorKind::InvalidData);
    }

    #[test]
    fn a_stream_that_ends_too_early_has_no_frame() {
        let whole = frame(b"content", 100).unwrap();
        for end in 0..whole.len() {
            let error = read(&mut &whole[..end], 100).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
        }
        assert_eq!(read(&mut &whole[..], 100).unwrap(), b"content");
    }
}
