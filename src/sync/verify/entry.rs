//! One message as it is compared, and how it lies in a temporary file.

use std::cmp::Ordering;
use std::io::{self, Read, Write};

use crate::model::{Flags, Item, ItemId};
use crate::platform::ContentDigest;

/// What is compared of a message, in the order in which messages are sorted, and then what names
/// it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Entry {
    pub(super) digest: ContentDigest,
    pub(super) flags: FlagText,
    /// INTERNALDATE, Unix seconds.
    pub(super) date: Option<i64>,
    /// Which of the folders that go to the same place.
    pub(super) folder: u32,
    pub(super) id: ItemId,
    /// RFC822.SIZE, bytes.
    pub(super) size: u64,
    /// Known where a manifest is written or read.
    pub(super) message_id: Option<Box<str>>,
    /// Why its loss is accepted, if it is.
    pub(super) accepted: Option<Box<str>>,
}

impl Entry {
    /// Stands for the content of a message that was not delivered. No content has this digest.
    pub(super) const UNREAD: ContentDigest = [0; 32];

    pub(super) fn new(item: &Item, digest: ContentDigest, folder: u32, flags: FlagText) -> Self {
        Self {
            digest,
            flags,
            date: item.meta.and_then(|meta| meta.date).map(|date| date.timestamp()),
            folder,
            id: item.id,
            size: item.meta.map_or(0, |meta| meta.size),
            message_id: None,
            accepted: None,
        }
    }

    pub(super) fn write(&self, out: &mut impl Write) -> io::Result<()> {
        out.write_all(&self.digest)?;
        out.write_all(&self.id.0.to_le_bytes())?;
        out.write_all(&self.size.to_le_bytes())?;
        out.write_all(&self.folder.to_le_bytes())?;
        out.write_all(&[u8::from(self.date.is_some())])?;
        out.write_all(&self.date.unwrap_or_default().to_le_bytes())?;
        write_text(out, Some(&self.flags.0))?;
        write_text(out, self.message_id.as_deref())?;
        write_text(out, self.accepted.as_deref())
    }

    pub(super) fn read(from: &mut impl Read) -> io::Result<Self> {
        let digest = array(from)?;
        let id = ItemId(u64::from_le_bytes(array(from)?));
        let size = u64::from_le_bytes(array(from)?);
        let folder = u32::from_le_bytes(array(from)?);
        let [is_dated] = array(from)?;
        let date = i64::from_le_bytes(array(from)?);
        Ok(Self {
            digest,
            flags: FlagText(read_text(from)?.unwrap_or_default()),
            date: (is_dated == 1).then_some(date),
            folder,
            id,
            size,
            message_id: read_text(from)?,
            accepted: read_text(from)?,
        })
    }
}

/// Flags as IMAP writes them, compared without case as keywords are.
#[derive(Debug, Clone, Default)]
pub(super) struct FlagText(pub(super) Box<str>);

impl From<&Flags> for FlagText {
    fn from(flags: &Flags) -> Self {
        Self(flags.to_string().into())
    }
}

impl PartialEq for FlagText {
    fn eq(&self, other: &Self) -> bool {
        self.0.eq_ignore_ascii_case(&other.0)
    }
}
impl Eq for FlagText {}
impl PartialOrd for FlagText {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for FlagText {
    fn cmp(&self, other: &Self) -> Ordering {
        let lower =
            |text: &Self| text.0.bytes().map(|b| b.to_ascii_lowercase()).collect::<Vec<_>>();
        lower(self).cmp(&lower(other))
    }
}

/// No text is `u32::MAX`.
fn write_text(out: &mut impl Write, text: Option<&str>) -> io::Result<()> {
    let length = text.map_or(u32::MAX, |text| u32::try_from(text.len()).unwrap_or(u32::MAX));
    out.write_all(&length.to_le_bytes())?;
    out.write_all(text.unwrap_or_default().as_bytes())
}

fn read_text(from: &mut impl Read) -> io::Result<Option<Box<str>>> {
    let length = u32::from_le_bytes(array(from)?);
    if length == u32::MAX {
        return Ok(None);
    }
    let mut text = vec![0; length as usize];
    from.read_exact(&mut text)?;
    String::from_utf8(text).map(|text| Some(text.into())).map_err(io::Error::other)
}

fn array<const N: usize>(from: &mut impl Read) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    from.read_exact(&mut bytes)?;
    Ok(bytes)
}
