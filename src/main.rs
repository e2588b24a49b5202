//! drover moves live mailboxes between mail platforms.

fn main() {}
