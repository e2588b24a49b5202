//! Text from elsewhere, made harmless: folder names, servers' words, account names, Message-IDs.
//! Every face shows such text through here, so that nobody writes on an operator's terminal, into
//! their log, or between the columns of a table. Pure.

use std::fmt::Write;

/// Without what would move a cursor, change colours or the direction of writing, or end a line:
/// each such character is shown as U+FFFD.
pub fn tame(text: &str) -> String {
    text.chars().map(|c| if is_odd(c) { '\u{fffd}' } else { c }).collect()
}

/// The same for a text of our own that consists of lines, some of which quote others.
pub fn tame_lines(text: &str) -> String {
    let keep = |c| matches!(c, '\n' | '\t') || !is_odd(c);
    text.chars().map(|c| if keep(c) { c } else { '\u{fffd}' }).collect()
}

/// The same for a text that was given colours.
pub fn tame_colored(text: &str) -> String {
    let keep = |c| matches!(c, '\n' | '\t' | '\u{1b}') || !is_odd(c);
    text.chars().map(|c| if keep(c) { c } else { '\u{fffd}' }).collect()
}

/// JSON with such characters escaped: the same value, and harmless to look at. What is below
/// U+0020 is escaped or layout already.
pub fn tame_json(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    for c in json.chars() {
        if c < ' ' || !is_odd(c) {
            out.push(c);
        } else {
            // None of them is beyond U+FFFF.
            let _ = write!(out, "\\u{:04x}", u32::from(c));
        }
    }
    out
}

/// Control characters (C1 too: terminals obey them), line separators, and what changes the
/// direction of the text around it (Unicode UAX 9, 2). Letters that are written from right to
/// left are letters.
fn is_odd(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOSTILE: &str = "a\u{1b}]0;pwned\u{7}\r\n\0\u{9b}31m\u{202e}\u{2028}\u{7f}ש";

    #[test]
    fn nothing_reaches_a_terminal_but_letters() {
        let tamed = tame(HOSTILE);
        assert_eq!(tamed.chars().count(), HOSTILE.chars().count());
        assert!(!tamed.contains(is_odd) && tamed.ends_with('ש'));
        assert_eq!(tame_lines("a\n\tb\r\n"), "a\n\tb\u{fffd}\n");
    }

    #[test]
    fn escaped_json_is_the_same_value() {
        let json = serde_json::to_string_pretty(&[HOSTILE, "plain"]).expect("JSON");
        let tamed = tame_json(&json);
        assert!(!tamed.replace('\n', "").contains(is_odd), "{tamed}");
        let back: Vec<String> = serde_json::from_str(&tamed).expect("still JSON");
        assert_eq!(back, [HOSTILE, "plain"]);
    }
}
