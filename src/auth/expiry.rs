//! When credentials end: what their owner, the provider or the material itself tells.

use chrono::{DateTime, NaiveDate, NaiveDateTime, NaiveTime, TimeDelta, Utc};

use super::assertion::certificate_in;
use super::resolve_text;
use crate::definition::{ClientProof, Grant};

/// So long before a credential ends somebody should know.
const AHEAD: TimeDelta = TimeDelta::days(14);

/// That a credential ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Expiry {
    /// When.
    pub at: DateTime<Utc>,
    /// Which.
    pub what: Ending,
}

impl Expiry {
    /// Is it time to do something about it?
    pub fn is_soon(&self, now: DateTime<Utc>) -> bool {
        self.at - now <= AHEAD
    }
}

/// What can end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Ending {
    /// `client_secret`.
    ClientSecret,
    /// `certificate`.
    Certificate,
    /// A refresh token.
    RefreshToken,
}

impl Ending {
    /// What the operator does about it.
    pub fn remedy(self) -> &'static str {
        match self {
            Self::ClientSecret => {
                "make a new one at the provider's console, put it in its place, and change `expires`"
            }
            Self::Certificate => {
                "make a new one, upload it at the provider's console, and put it and its key in \
                 their places"
            }
            Self::RefreshToken => "get a new one with `drover auth login`",
        }
    }
}

impl std::fmt::Display for Ending {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::ClientSecret => "the client secret",
            Self::Certificate => "the certificate",
            Self::RefreshToken => "the refresh token",
        })
    }
}

/// When a grant's client secret ends, if its owner said: at the first moment of that day.
pub(super) fn declared(grant: &Grant) -> Option<Expiry> {
    let at = grant.secret_expires()?.and_time(NaiveTime::MIN).and_utc();
    Some(Expiry { at, what: Ending::ClientSecret })
}

/// What can be known of a grant's end without asking anybody; a certificate that cannot be read
/// tells nothing.
pub async fn expiry(grant: &Grant) -> Option<Expiry> {
    if let Grant::ClientCredentials {
        proof: ClientProof::Certificate { certificate, .. }, ..
    } = grant
    {
        let at = not_after(&certificate_in(&resolve_text(certificate).await.ok()?).ok()?)?;
        return Some(Expiry { at, what: Ending::Certificate });
    }
    declared(grant)
}

/// `notAfter` of a certificate (RFC 5280, 4.1), DER.
pub(super) fn not_after(der: &[u8]) -> Option<DateTime<Utc>> {
    const SEQUENCE: u8 = 0x30;
    let (certificate, _) = element(der, SEQUENCE)?;
    let (mut rest, _) = element(certificate, SEQUENCE)?;
    // The version, if there is one.
    if let Some((_, after)) = element(rest, 0xa0) {
        rest = after;
    }
    // Serial number, algorithm and issuer.
    for tag in [0x02, SEQUENCE, SEQUENCE] {
        rest = element(rest, tag)?.1;
    }
    let (validity, _) = element(rest, SEQUENCE)?;
    let (_, _not_before, rest) = any(validity)?;
    let (tag, time, _) = any(rest)?;
    let text = std::str::from_utf8(time).ok()?;
    let format = "%Y%m%d%H%M%SZ";
    let parsed = match tag {
        // UTCTime has two digits of the year, up to 2049 (RFC 5280, 4.1.2.5.1).
        0x17 => {
            let century = if text.get(..2)?.parse::<u8>().ok()? < 50 { "20" } else { "19" };
            NaiveDateTime::parse_from_str(&format!("{century}{text}"), format)
        }
        0x18 => NaiveDateTime::parse_from_str(text, format),
        _ => return None,
    };
    Some(parsed.ok()?.and_utc())
}

/// The content of an element with this tag, and what follows it.
fn element(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    any(der).filter(|(found, ..)| *found == tag).map(|(_, content, rest)| (content, rest))
}

/// An element's tag and content, and what follows it (X.690, 8.1).
fn any(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = der.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        0..0x80 => (usize::from(first), rest),
        _ => {
            let (digits, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            let digits = digits.iter().try_fold(0_usize, |sum, digit| {
                sum.checked_mul(256)?.checked_add(usize::from(*digit))
            });
            (digits?, rest)
        }
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((tag, content, rest))
}

/// The day, and how many are left: `2026-12-02, in 9 days`.
pub fn in_days(at: DateTime<Utc>, now: DateTime<Utc>) -> String {
    let day: NaiveDate = at.date_naive();
    match (at - now).num_days() {
        _ if at <= now => format!("{day}, that is over"),
        0 => format!("{day}, within a day"),
        1 => format!("{day}, in 1 day"),
        days => format!("{day}, in {days} days"),
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};

    use super::*;

    fn certificate(year: i32) -> Vec<u8> {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec!["drover.example".into()]).unwrap();
        (params.not_before, params.not_after) =
            (date_time_ymd(2020, 1, 1), date_time_ymd(year, 3, 31));
        params.self_signed(&key).unwrap().der().to_vec()
    }

    #[test]
    fn a_certificate_tells_when_it_ends_in_this_half_of_the_century_and_later() {
        for year in [2027, 2049, 2050, 2133] {
            let ends = not_after(&certificate(year)).unwrap();
            assert_eq!(ends.to_rfc3339(), format!("{year}-03-31T00:00:00+00:00"));
        }
    }

    #[test]
    fn the_days_that_are_left_are_whole_ones() {
        let at = |text: &str| DateTime::parse_from_rfc3339(text).unwrap().to_utc();
        let ends = at("2027-03-31T00:00:00Z");
        for (now, expected) in [
            ("2027-03-20T12:00:00Z", "2027-03-31, in 10 days"),
            ("2027-03-29T12:00:00Z", "2027-03-31, in 1 day"),
            ("2027-03-30T12:00:00Z", "2027-03-31, within a day"),
            ("2027-03-31T00:00:00Z", "2027-03-31, that is over"),
        ] {
            assert_eq!(in_days(ends, at(now)), expected);
        }
    }

    #[test]
    fn a_certificate_that_is_cut_or_broken_anywhere_tells_nothing_wrong() {
        let whole = certificate(2027);
        for end in 0..whole.len() {
            assert_eq!(not_after(&whole[..end]), None);
        }
        for at in 0..whole.len().min(200) {
            let mut broken = whole.clone();
            broken[at] = broken[at].wrapping_add(0x7f);
            // Whatever it tells: it does not panic.
            let _ = not_after(&broken);
        }
        assert_eq!(not_after(&[0x30, 0xff]), None);
        assert_eq!(not_after(&[0x30, 0x89, 255, 255, 255, 255, 255, 255, 255, 255, 255]), None);
    }
}
