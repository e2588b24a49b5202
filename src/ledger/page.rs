//! Rows packed into pages: one database value holds up to [`ROWS`] of them.
//!
//! ```text
//! version:u8  count:u16  words: n (len bytes)*  rows  crc32c:u32
//! ```
//!
//! In version 2, records end with 1 and the name that the source's server has for a message everywhere,
//! as eight bytes, or with 0; pages in which no record has one are of version 1. Numbers without a width are LEB128; fixed ones are little-endian. The checksum covers the
//! page's key too, so that a page that turns up in another's place is noticed. Every row starts
//! with the distance of its id from the row before. Decoding never panics, whatever the bytes.

use std::num::NonZeroU64;

use crate::model::{Fingerprint, Flags, Identity, ItemId, Keyword};

use super::{Origin, PlaceNo, Record, Stranger};

/// Rows in a full page, some 2 KiB. Pages of 256 take a third more on the disk, because every
/// append rewrites the last one; `docs/ledger.md` has the figures.
pub(super) const ROWS: usize = 128;

const VERSION: u8 = 1;
/// With identities.
const IDENTIFIED: u8 = 2;

/// Something with an id that packs into pages.
pub(super) trait Row: Sized + Clone {
    fn id(&self) -> u64;
    /// Has it got a name that its server knows everywhere?
    fn is_identified(&self) -> bool {
        false
    }
    /// Writes everything but the id; `before` is the row before in the page.
    fn pack<'r>(&'r self, before: Option<&Self>, out: &mut Writer<'r>);
    /// Reads it back; `None` if the bytes make no sense.
    fn unpack(id: u64, before: Option<&Self>, bytes: &mut Reader<'_>) -> Option<Self>;
}

/// Packs rows with strictly ascending ids, at most [`ROWS`].
pub(super) fn encode<R: Row>(key: &[u8], rows: &[R]) -> Vec<u8> {
    debug_assert!(rows.len() <= ROWS && rows.is_sorted_by(|a, b| a.id() < b.id()));
    let identified = rows.iter().any(Row::is_identified);
    let bytes = Vec::with_capacity(rows.len() * 16);
    let mut packed = Writer { bytes, words: Vec::new(), identified };
    let mut before: Option<&R> = None;
    for row in rows {
        packed.number(row.id() - before.map_or(0, Row::id));
        row.pack(before, &mut packed);
        before = Some(row);
    }
    let Writer { bytes, words, identified } = packed;
    let version = if identified { IDENTIFIED } else { VERSION };
    let mut page = Writer { bytes: vec![version], words: Vec::new(), identified };
    page.bytes.extend((rows.len() as u16).to_le_bytes());
    page.number(words.len() as u64);
    for word in words {
        page.number(word.len() as u64);
        page.bytes.extend(word.as_bytes());
    }
    page.bytes.extend(bytes);
    let crc = crc32c::crc32c_append(crc32c::crc32c(key), &page.bytes);
    page.bytes.extend(crc.to_le_bytes());
    page.bytes
}

/// Unpacks a page, or says what is wrong with it.
pub(super) fn decode<R: Row>(key: &[u8], page: &[u8]) -> Result<Vec<R>, &'static str> {
    decode_body(checked(key, page)?).ok_or("malformed")
}

/// How many rows a page holds, or what is wrong with it.
pub(super) fn count(key: &[u8], page: &[u8]) -> Result<u64, &'static str> {
    match checked(key, page)? {
        [VERSION | IDENTIFIED, low, high, ..] => Ok(u16::from_le_bytes([*low, *high]).into()),
        _ => Err("malformed"),
    }
}

fn checked<'p>(key: &[u8], page: &'p [u8]) -> Result<&'p [u8], &'static str> {
    let Some((body, crc)) = page.split_last_chunk() else { return Err("too short") };
    if crc32c::crc32c_append(crc32c::crc32c(key), body) != u32::from_le_bytes(*crc) {
        return Err("wrong checksum");
    }
    Ok(body)
}

fn decode_body<R: Row>(body: &[u8]) -> Option<Vec<R>> {
    let (&[version, low, high], rest) = body.split_first_chunk()?;
    let count = usize::from(u16::from_le_bytes([low, high]));
    let identified = match version {
        VERSION => false,
        IDENTIFIED => true,
        _ => return None,
    };
    if count > ROWS {
        return None;
    }
    let mut bytes = Reader { bytes: rest, words: Vec::new(), identified };
    for _ in 0..bytes.number()? {
        let length = usize::try_from(bytes.number()?).ok()?;
        let word = std::str::from_utf8(bytes.take(length)?).ok()?;
        bytes.words.push(word);
    }
    let mut rows: Vec<R> = Vec::with_capacity(count);
    for _ in 0..count {
        let distance = bytes.number()?;
        let before = rows.last();
        let id = before.map_or(0, Row::id).checked_add(distance)?;
        if before.is_some() && distance == 0 {
            return None;
        }
        rows.push(R::unpack(id, before, &mut bytes)?);
    }
    bytes.bytes.is_empty().then_some(rows)
}

/// Packs values one after the other.
pub(super) struct Writer<'r> {
    bytes: Vec<u8>,
    /// Each keyword of the page once.
    words: Vec<&'r str>,
    identified: bool,
}

impl<'r> Writer<'r> {
    fn number(&mut self, mut n: u64) {
        while n >= 0x80 {
            self.bytes.push(n as u8 | 0x80);
            n >>= 7;
        }
        self.bytes.push(n as u8);
    }

    /// The distance between two numbers, small in either direction.
    fn step(&mut self, from: u64, to: u64) {
        let step = to.wrapping_sub(from) as i64;
        self.number(((step << 1) ^ (step >> 63)) as u64);
    }

    fn word(&mut self, word: &'r str) {
        let at = self.words.iter().position(|w| *w == word).unwrap_or_else(|| {
            self.words.push(word);
            self.words.len() - 1
        });
        self.number(at as u64);
    }
}

/// Reads what [`Writer`] packed.
pub(super) struct Reader<'p> {
    bytes: &'p [u8],
    words: Vec<&'p str>,
    identified: bool,
}

impl<'p> Reader<'p> {
    fn take(&mut self, length: usize) -> Option<&'p [u8]> {
        let (taken, rest) = self.bytes.split_at_checked(length)?;
        self.bytes = rest;
        Some(taken)
    }

    fn byte(&mut self) -> Option<u8> {
        self.take(1).map(|b| b[0])
    }

    fn fixed(&mut self) -> Option<u64> {
        self.take(8)?.try_into().ok().map(u64::from_le_bytes)
    }

    fn number(&mut self) -> Option<u64> {
        let mut n = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            // The tenth byte has room for one bit.
            if shift == 63 && bits > 1 {
                return None;
            }
            n |= bits << shift;
            if byte & 0x80 == 0 {
                return Some(n);
            }
        }
        None
    }

    fn step(&mut self, from: u64) -> Option<u64> {
        let n = self.number()?;
        Some(from.wrapping_add((n >> 1) ^ (n & 1).wrapping_neg()))
    }
}

// The first byte of a record: the system flags in the low five bits, and
const ADOPTED: u8 = 1 << 5;
const GONE: u8 = 1 << 6;
const KEYWORDS: u8 = 1 << 7;

impl Row for Record {
    fn id(&self) -> u64 {
        self.id.0
    }

    fn is_identified(&self) -> bool {
        self.identity.is_some()
    }

    fn pack<'r>(&'r self, before: Option<&Self>, out: &mut Writer<'r>) {
        let mut head = self.flags.system_bits() & 31;
        head |= if self.origin == Origin::Adopted { ADOPTED } else { 0 };
        head |= if self.at.is_none() { GONE } else { 0 };
        head |= if self.flags.keywords().next().is_some() { KEYWORDS } else { 0 };
        out.bytes.push(head);
        out.step(place_of(before), u64::from(self.place.0));
        if let Some(at) = self.at {
            out.step(at_of(before), at.0);
        }
        out.bytes.extend(self.fingerprint.0.to_le_bytes());
        out.number(self.size);
        out.step(date_of(before), date_of(Some(self)));
        if head & KEYWORDS != 0 {
            out.number(self.flags.keywords().count() as u64);
            for keyword in self.flags.keywords() {
                out.word(&keyword.0);
            }
        }
        if out.identified {
            out.bytes.push(self.identity.is_some().into());
            out.bytes.extend(self.identity.into_iter().flat_map(|i| i.0.get().to_le_bytes()));
        }
    }

    fn unpack(id: u64, before: Option<&Self>, bytes: &mut Reader<'_>) -> Option<Self> {
        let head = bytes.byte()?;
        let place = PlaceNo(u32::try_from(bytes.step(place_of(before))?).ok()?);
        let at = match head & GONE {
            0 => Some(ItemId(bytes.step(at_of(before))?)),
            _ => None,
        };
        let fingerprint = Fingerprint(bytes.fixed()?);
        let size = bytes.number()?;
        let date = date_from(bytes.step(date_of(before))?);
        let mut keywords = Vec::new();
        if head & KEYWORDS != 0 {
            for _ in 0..bytes.number()? {
                let word = usize::try_from(bytes.number()?).ok()?;
                keywords.push(Keyword((*bytes.words.get(word)?).into()));
            }
        }
        let identity = match bytes.identified && bytes.byte()? == 1 {
            true => Some(Identity(NonZeroU64::new(bytes.fixed()?)?)),
            false => None,
        };
        let origin = if head & ADOPTED == 0 { Origin::Copied } else { Origin::Adopted };
        let flags = Flags::from_parts(head, keywords);
        let id = ItemId(id);
        Some(Self { id, place, at, origin, flags, fingerprint, size, date, identity })
    }
}

fn place_of(record: Option<&Record>) -> u64 {
    record.map_or(0, |r| u64::from(r.place.0))
}

/// The Unix time, folded so that small ones of either sign are small, plus one: 0 is none.
fn date_of(record: Option<&Record>) -> u64 {
    let folded = |date: i64| ((date << 1) ^ (date >> 63)).cast_unsigned();
    record.and_then(|r| r.date).map_or(0, |date| folded(date).saturating_add(1))
}

fn date_from(folded: u64) -> Option<i64> {
    let n = folded.checked_sub(1)?;
    Some((n >> 1).cast_signed() ^ -(n & 1).cast_signed())
}

fn at_of(record: Option<&Record>) -> u64 {
    record.and_then(|r| r.at).map_or(0, |at| at.0)
}

impl Row for Stranger {
    fn id(&self) -> u64 {
        self.id.0
    }

    fn pack<'r>(&'r self, _: Option<&Self>, out: &mut Writer<'r>) {
        out.bytes.extend(self.fingerprint.0.to_le_bytes());
        out.number(self.size);
    }

    fn unpack(id: u64, _: Option<&Self>, bytes: &mut Reader<'_>) -> Option<Self> {
        let fingerprint = Fingerprint(bytes.fixed()?);
        Some(Self { id: ItemId(id), fingerprint, size: bytes.number()? })
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::{btree_map, vec};
    use proptest::prelude::*;

    use super::*;

    fn flags() -> impl Strategy<Value = Flags> {
        let keyword = prop_oneof![Just("$Forwarded"), Just("$Junk"), Just("Fähnchen"), Just("a")];
        (0u8..32, vec(keyword, 0..4)).prop_map(|(bits, words)| {
            Flags::from_parts(bits, words.into_iter().map(|w| Keyword(w.into())))
        })
    }

    /// Mostly small, as in life, and every extreme.
    fn number() -> impl Strategy<Value = u64> {
        prop_oneof![0u64..1000, any::<u64>(), Just(u64::MAX), Just(0)]
    }

    fn records() -> impl Strategy<Value = Vec<Record>> {
        let rest = (any::<u32>(), proptest::option::of(number()), any::<bool>(), flags());
        let date = proptest::option::of(-1_000_000_000_000i64..1_000_000_000_000);
        let identity =
            proptest::option::of((1..u64::MAX).prop_map(|n| Identity::of(&n.to_le_bytes())));
        let row = (rest, any::<u64>(), number(), date, identity);
        (btree_map(number(), row, 0..ROWS), any::<bool>()).prop_map(|(rows, has_identities)| {
            let rows = rows.into_iter();
            rows.map(|(id, ((place, at, copied, flags), print, size, date, identity))| Record {
                id: ItemId(id),
                place: PlaceNo(place),
                at: at.map(ItemId),
                origin: if copied { Origin::Copied } else { Origin::Adopted },
                flags,
                fingerprint: Fingerprint(print),
                size,
                date,
                identity: identity.filter(|_| has_identities),
            })
            .collect()
        })
    }

    proptest! {
        #[test]
        fn a_page_gives_back_its_records(rows in records()) {
            let page = encode(b"key", &rows);
            prop_assert_eq!(decode(b"key", &page), Ok(rows));
        }

        #[test]
        fn a_page_under_another_key_is_refused(rows in records()) {
            let page = encode(b"key", &rows);
            prop_assert_eq!(decode::<Record>(b"kez", &page), Err("wrong checksum"));
        }

        #[test]
        fn a_flipped_bit_is_noticed(rows in records(), at in any::<prop::sample::Index>(), bit in 0..8) {
            let mut page = encode(b"key", &rows);
            let at = at.index(page.len());
            page[at] ^= 1u8 << bit;
            prop_assert!(decode::<Record>(b"key", &page).is_err());
        }

        #[test]
        fn random_bytes_with_a_right_checksum_never_panic(mut body in vec(any::<u8>(), 0..400)) {
            let _ = decode_body::<Record>(&body);
            let _ = decode_body::<Stranger>(&body);
            // Past the version and the count, which random bytes seldom hit.
            if body.len() > 3 {
                for version in [VERSION, IDENTIFIED] {
                    body[..3].copy_from_slice(&[version, 3, 0]);
                    let _ = decode_body::<Record>(&body);
                    let _ = decode_body::<Stranger>(&body);
                }
            }
        }
    }

    #[test]
    fn a_usual_record_with_a_keyword_takes_at_most_21_bytes() {
        let rows: Vec<_> = (0..ROWS as u64)
            .map(|n| Record {
                id: ItemId(500_000 + n),
                place: PlaceNo(3),
                at: Some(ItemId(700_000 + n)),
                origin: Origin::Copied,
                flags: Flags::parse(["\\Seen", "$Forwarded"]),
                fingerprint: Fingerprint(n.wrapping_mul(0x9E37_79B9_7F4A_7C15)),
                size: 20_000 + n * 977,
                date: Some(1_700_000_000 + (n * 7919 % 90_000).cast_signed()),
                identity: None,
            })
            .collect();
        let page = encode(b"key", &rows);
        assert!(page.len() <= ROWS * 21, "{} bytes", page.len());
        assert_eq!(page[0], VERSION, "and is as it was before records had identities");
    }

    #[test]
    fn a_page_from_a_later_version_is_malformed_not_misread() {
        let mut page = vec![IDENTIFIED + 1, 0, 0, 0];
        let crc = crc32c::crc32c_append(crc32c::crc32c(b"key"), &page);
        page.extend(crc.to_le_bytes());
        assert_eq!(decode::<Record>(b"key", &page), Err("malformed"));
    }
}
