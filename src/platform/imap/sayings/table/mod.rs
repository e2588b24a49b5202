//! The sayings themselves. docs/sayings.md is written from them. In each comment, where a saying
//! is known from: an RFC, a server on which it was seen, or whose report.

use std::borrow::Cow;
use std::time::Duration;

use super::During::{Append, Copy, Create, Fetch, Other, SignIn};
use super::{Class, During, Row, Wait};
use crate::platform::Remedy;
use crate::platform::Scope::{self, Account, Connection, Folder, Mailbox, Message, Server};

mod refusals;
mod signing_in;
mod waiting;

pub(super) const MINUTE: Duration = Duration::from_secs(60);
const QUARTER: Duration = Duration::from_secs(15 * 60);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);

const SOON: Wait = Wait::Backoff;
const A_MINUTE: Wait = Wait::For(MINUTE);
const DAILY: Wait = Wait::Doubling(HOUR, DAY);

const ANY: &[During] = &[];
const STORING: &[During] = &[Append, Copy, Create];

/// Texts before codes: where both are there, the words say more. An example begins with the
/// status; the tag or star is left out.
pub(super) fn rows<'r>() -> impl Iterator<Item = &'r Row> {
    [waiting::ROWS, signing_in::ROWS, refusals::ROWS].into_iter().flatten()
}

const fn row(
    code: &'static str,
    text: &'static str,
    during: &'static [During],
    class: Class,
    wait: Wait,
    parks: Scope,
    example: &'static str,
) -> Row {
    let during = Cow::Borrowed(during);
    let (code, text, example) = (Cow::Borrowed(code), Cow::Borrowed(text), Cow::Borrowed(example));
    Row { code, text, during, class, wait, parks, remedy: None, example }
}

/// A refusal of a message that may be taken after a change that loses nothing of its content.
const fn remedied(
    code: &'static str,
    text: &'static str,
    remedy: Remedy,
    example: &'static str,
) -> Row {
    let during = Cow::Borrowed(&[Append] as &[During]);
    let (code, text, example) = (Cow::Borrowed(code), Cow::Borrowed(text), Cow::Borrowed(example));
    let (class, remedy) = (Class::Permanent, Some(remedy));
    Row { code, text, during, class, wait: SOON, parks: Message, remedy, example }
}
