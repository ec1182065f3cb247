//! Deltas: an object told as parts of another (`gitformat-pack`, "Deltified representation").

use super::PackError;

/// Bytes in which both sizes at the front of a delta stand.
pub(super) const HEAD_BYTES: usize = 20;

const ODD: PackError = PackError::Odd("a delta");

/// The sizes of the base and of the result.
pub(super) fn sizes(delta: &[u8]) -> Option<(u64, u64)> {
    let mut bytes = delta;
    Some((size(&mut bytes)?, size(&mut bytes)?))
}

/// Makes the object, no larger than `room`.
pub(super) fn apply(base: &[u8], delta: &[u8], room: usize) -> Result<Vec<u8>, PackError> {
    let mut rest = delta;
    let from = size(&mut rest).ok_or(ODD)?;
    let to = size(&mut rest).and_then(|size| usize::try_from(size).ok()).ok_or(ODD)?;
    if from != u64::try_from(base.len()).unwrap_or(u64::MAX) {
        return Err(ODD);
    }
    if to > room {
        return Err(PackError::TooMuch("history"));
    }
    let mut made = Vec::with_capacity(to);
    while let Some((op, behind)) = rest.split_first() {
        rest = behind;
        let part = if op & 128 != 0 {
            let mut field = |bits: u8, count: u32| -> Result<usize, PackError> {
                let mut value = 0_usize;
                for place in 0..count {
                    if bits >> place & 1 != 0 {
                        let (byte, behind) = rest.split_first().ok_or(ODD)?;
                        rest = behind;
                        value |= usize::from(*byte) << (8 * place);
                    }
                }
                Ok(value)
            };
            let offset = field(*op & 15, 4)?;
            let length = match field(*op >> 4 & 7, 3)? {
                0 => 0x10000,
                length => length,
            };
            base.get(offset..offset.saturating_add(length)).ok_or(ODD)?
        } else {
            let (part, behind) = rest.split_at_checked(usize::from(*op)).ok_or(ODD)?;
            rest = behind;
            // Why: 0 is reserved.
            if part.is_empty() {
                return Err(ODD);
            }
            part
        };
        if made.len().saturating_add(part.len()) > to {
            return Err(ODD);
        }
        made.extend_from_slice(part);
    }
    if made.len() == to { Ok(made) } else { Err(ODD) }
}

fn size(bytes: &mut &[u8]) -> Option<u64> {
    let (mut size, mut shift) = (0_u64, 0_u32);
    loop {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        if shift > 56 {
            return None;
        }
        size |= u64::from(byte & 127) << shift;
        shift = shift.saturating_add(7);
        if byte & 128 == 0 {
            return Some(size);
        }
    }
}
