//! What processes cost and wait for, by proc(5).

use std::time::Duration;

/// The processor's time this one has had, in hundredths of a second: unlike the clock's, it does not
/// depend on what else the machine does.
pub fn processor_time() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("read /proc");
    let fields = stat.rsplit_once(") ").expect("a name in parentheses").1.split(' ');
    // utime and stime.
    let both = fields.skip(11).take(2).filter_map(|field| field.parse::<u64>().ok());
    Duration::from_millis(both.sum::<u64>() * 10)
}

/// What each thread of a process does: its state, processor's time, system call and what that waits
/// for; a line each.
pub fn threads(pid: u32) -> String {
    let Ok(threads) = std::fs::read_dir(format!("/proc/{pid}/task")) else {
        return "there are none".into();
    };
    let tell = |directory: std::path::PathBuf| {
        let read = |name| std::fs::read_to_string(directory.join(name)).unwrap_or_default();
        ["stat", "wchan", "syscall"].map(|name| read(name).trim().to_owned()).join(" | ")
    };
    threads.flatten().map(|thread| tell(thread.path()) + "\n").collect()
}
