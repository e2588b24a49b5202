use proptest::prelude::*;

use super::*;

fn segment() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-c/=0-9A-F\\t ]{1,8}",
        prop::sample::select(vec![
            "=2F", "=3D2F", "a/b", "a=2Fb", "=", "==2F", "INBOX", "Inbox", "ä"
        ])
        .prop_map(str::to_owned),
        any::<String>().prop_filter("not empty", |s| !s.is_empty()),
    ]
}

proptest! {
    #[test]
    fn the_written_form_of_a_path_is_read_back(segments in prop::collection::vec(segment(), 1..5)) {
        let path = FolderPath::new(segments);
        let text = path.to_string();
        prop_assert!(!text.chars().any(char::is_control), "{text:?}");
        prop_assert_eq!(FolderPath::parse(&text), path);
    }

    #[test]
    fn escaping_is_undone_whatever_is_illegal(
        text in segment(),
        illegal in prop::collection::hash_set(any::<char>(), 0..4),
        more in prop::sample::select(vec!["", "/.", "=", "=a", "02F", "/=2F"]),
    ) {
        let escaped = escape(&text, |c| illegal.contains(&c) || more.contains(c));
        prop_assert_eq!(unescape(&escaped), text);
    }
}
