//! What whoever runs the tests may set in the environment.

/// A number, if it is set.
pub fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}

/// The seed of this run, by the name that repeats it: printed, and another each time if not set.
pub fn seed(name: &str) -> u64 {
    let seed = setting(name).unwrap_or_else(|| u64::from(std::process::id()));
    println!("{name}={seed}");
    seed
}

/// Is everything to be tried that otherwise only every few runs come to (`DROVER_TORTURE=full`)?
pub fn is_full() -> bool {
    std::env::var("DROVER_TORTURE").is_ok_and(|v| v == "full")
}
