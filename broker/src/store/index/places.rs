//! Places within a segment: as a sorted list, as bytes, and as a set to intersect with.

/// Words of a set: one bit for each of 65,536 places.
const WORDS: usize = 1024;

/// A set of places.
#[derive(Clone)]
pub struct Set(Box<[u64; WORDS]>);

impl Set {
    /// None.
    pub fn none() -> Self {
        Self(Box::new([0; WORDS]))
    }

    /// All of them.
    pub fn all() -> Self {
        Self(Box::new([u64::MAX; WORDS]))
    }

    /// Puts one in.
    pub fn put(&mut self, place: u16) {
        if let Some(word) = self.0.get_mut(usize::from(place >> 6)) {
            *word |= 1 << (place & 63);
        }
    }

    /// Keeps those that are in another set too.
    pub fn keep(&mut self, other: &Self) {
        self.0.iter_mut().zip(other.0.iter()).for_each(|(word, other)| *word &= other);
    }

    /// Whether a place is in it.
    pub fn has(&self, place: u16) -> bool {
        self.0.get(usize::from(place >> 6)).is_some_and(|word| word >> (place & 63) & 1 == 1)
    }

    /// Its places, lowest first.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = u16> + '_ {
        (0..=u16::MAX).filter(|place| self.has(*place))
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(|word| *word == 0)
    }
}

/// A sorted list as bytes: the steps from each to the next, seven bits a byte, lowest first.
pub fn pack(places: &[u16]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(places.len());
    let mut before = 0;
    for place in places {
        let mut step = place.wrapping_sub(before);
        before = *place;
        while step >= 0x80 {
            bytes.push(u8::try_from(step & 0x7f).unwrap_or(0) | 0x80);
            step >>= 7;
        }
        bytes.push(u8::try_from(step).unwrap_or(0));
    }
    bytes
}

/// Hands on the places of packed bytes. Bytes that are not ours give places, never a panic.
pub fn unpack(bytes: &[u8], mut each: impl FnMut(u16)) {
    let (mut place, mut step, mut shift) = (0_u16, 0_u16, 0_u32);
    for byte in bytes {
        let bits = u16::from(byte & 0x7f);
        step |= bits.checked_shl(shift).unwrap_or(0);
        if byte & 0x80 == 0 {
            place = place.wrapping_add(step);
            each(place);
            (step, shift) = (0, 0);
        } else {
            shift = shift.saturating_add(7);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_comes_out_as_it_went_in() {
        for list in [
            vec![],
            vec![0],
            vec![65_535],
            vec![0, 1, 2, 127, 128, 129, 16_383, 16_384, 32_768, 65_535],
            (0..=u16::MAX).collect(),
        ] {
            let mut out = Vec::new();
            unpack(&pack(&list), |place| out.push(place));
            assert_eq!(out, list);
            let mut set = Set::none();
            list.iter().for_each(|place| set.put(*place));
            assert_eq!(set.iter().collect::<Vec<_>>(), list);
            assert_eq!(set.is_empty(), list.is_empty());
        }
        unpack(&[0xff; 40], |_| ());
    }
}
