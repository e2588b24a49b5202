//! Whether a platform takes the method by which a definition wants to sign in. Only what is known
//! of platforms is compared, by name: whether drover has the method is for others to say.

use super::section::Section;
use crate::preset::{self, Preset};

/// What `auth` means if it says nothing.
const DEFAULT: &str = "password";

/// Reports a method that the platform is not known to take. What is written is only warned about:
/// providers change their minds, and the operator may know better.
pub(super) fn check(section: &Section<'_>, preset: &Preset) {
    let written = section.table().get("auth").and_then(|auth| auth.get_ref().as_table());
    let method = written
        .and_then(|auth| auth.get("method"))
        .and_then(|method| method.get_ref().as_str())
        .unwrap_or(DEFAULT);
    // What is no method anywhere is reported where it is read.
    let is_known = preset::all().iter().any(|other| other.auth.iter().any(|m| m == method));
    if !is_known || preset.takes(method) {
        return;
    }
    let known: Vec<_> = preset.auth.iter().map(|method| format!("\"{method}\"")).collect();
    let mut help = format!("write auth = {{ method = {}, … }}", known.join(" or "));
    if let Some(note) = &preset.auth_note {
        help = format!("{note}; {help}");
    }
    let title = &preset.title;
    match section.at_key("auth") {
        Some(at) => at.warning(format!("{title} is not known to take method = \"{method}\""), help),
        None => {
            let message =
                format!("`auth` is missing in {}, and {title} takes no passwords", section.name());
            section.at().error(message, help);
        }
    }
}
