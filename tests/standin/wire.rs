//! How the stand-in reads what a client sends.

use crate::support::standin::parse::{Arg, announced, command};
use crate::support::standin::set::{self, Set};

fn text(text: &str) -> Arg {
    Arg::Text(text.as_bytes().to_vec())
}

fn atom(text: &str) -> Arg {
    Arg::Atom(text.to_owned())
}

#[test]
fn atoms_strings_literals_and_lists_are_told_apart() {
    let read = command(b"a1 x a \"b \\\" c\" {4}\r\n(\r\n) (\\Seen {2+}\r\nxy ())").unwrap();
    assert_eq!((read.tag.as_str(), read.verb.as_str()), ("a1", "X"));
    let list = Arg::List(vec![atom("\\Seen"), text("xy"), Arg::List(vec![])]);
    assert_eq!(read.args, [atom("a"), text("b \" c"), text("(\r\n)"), list]);
}

#[test]
fn a_section_is_one_atom() {
    let read = command(b"a UID FETCH 1:* BODY.PEEK[HEADER.FIELDS (To CC)]<0.9>").unwrap();
    assert_eq!(read.verb, "UID FETCH");
    assert_eq!(read.args, [atom("1:*"), atom("BODY.PEEK[HEADER.FIELDS (To CC)]<0.9>")]);
}

#[test]
fn what_is_no_command_is_refused() {
    for bad in [
        "",
        " ",
        "a",
        "a ",
        "a  b",
        "a b ",
        "a b (",
        "a b )",
        "a b (c",
        "a b \"c",
        "a b c\"d",
        "a b {3}",
        "a b {9}\r\nx",
        "a b {1}\r\nxy",
        "a b c{1",
        "+ b",
        "a UID",
        "a (b)",
        "a b \"\\n\"",
        "a b [c",
        "a b (c  d)",
        "a b {x}\r\n",
        "a b \u{e4}",
    ] {
        assert_eq!(command(bad.as_bytes()), None, "{bad:?}");
    }
}

#[test]
fn a_literal_is_announced_at_the_end_of_a_line() {
    assert_eq!(announced(b"a {12}"), Some((12, true)));
    assert_eq!(announced(b"a {12+}"), Some((12, false)));
    for no in ["a {}", "a {+}", "a {1x}", "a {1} ", "a 1}", "{99999999999999999999999}"] {
        assert_eq!(announced(no.as_bytes()), None, "{no}");
    }
}

#[test]
fn a_range_runs_both_ways_and_a_star_is_the_last() {
    let set = Set::parse("2,7:4,12:*").unwrap();
    let within = |largest| (1..=13).filter(|n| set.contains(*n, largest)).collect::<Vec<_>>();
    assert_eq!(within(13), [2, 4, 5, 6, 7, 12, 13]);
    // RFC 3501: 12:* holds the last message even if that is below 12.
    assert_eq!(within(9), [2, 4, 5, 6, 7, 9, 10, 11, 12]);
}

#[test]
fn what_is_no_set_is_refused() {
    for bad in ["", "0", "1,", ":", "1:", "a", "1 2", "+1", "1:2:3", "4294967296"] {
        assert_eq!(Set::parse(bad), None, "{bad}");
    }
}

#[test]
fn a_set_is_written_shortly() {
    assert_eq!(set::write(&[1, 2, 3, 5, 8, 9]), "1:3,5,8:9");
    assert_eq!(set::write(&[]), "");
}
