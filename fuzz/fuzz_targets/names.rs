#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    drover::fuzzing::names(data);
    drover::fuzzing::commands(data);
});
