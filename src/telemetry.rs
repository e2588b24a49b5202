//! How drover logs: on standard error, in one of three forms.

use std::fmt;
use std::io::{IsTerminal, Write};
use std::sync::LazyLock;

use indicatif::MultiProgress;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::field::RecordFields;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::fmt::format::{DefaultFields, Writer};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};

use crate::config::{Log, LogFormat};
use crate::model::text::{tame, tame_json};

/// These print what goes over the wire, passwords included (law 9): only their warnings are
/// passed on, whatever is asked for.
const CAPPED: [&str; 3] = ["async_imap", "imap_proto", "sled"];

/// The cron clock is a hint and no more (see the controller); it calls its own end an error.
const MUTED: &str = "tokio_cron_scheduler";

/// The progress bars of this process. Log lines are printed above them.
pub static BARS: LazyLock<MultiProgress> = LazyLock::new(MultiProgress::new);

/// Starts logging. `RUST_LOG` is stronger than the level of `log`. A second call does nothing.
pub fn init(log: &Log) {
    let json = log.format == LogFormat::Json;
    let layer = tracing_subscriber::fmt::layer()
        .with_writer(move || Above { json })
        .with_ansi(colors(std::io::stderr().is_terminal()));
    let layer = match log.format {
        LogFormat::Pretty => layer.compact().with_target(false).fmt_fields(Tame).boxed(),
        LogFormat::Json => layer.json().flatten_event(true).boxed(),
        LogFormat::Journald => {
            layer.with_ansi(false).event_format(Journald).fmt_fields(Tame).boxed()
        }
    };
    let filter = filter(std::env::var("RUST_LOG").ok(), &log.level);
    let _ = tracing_subscriber::registry()
        .with(filter)
        .with(filter_fn(|metadata| is_allowed(metadata.target(), *metadata.level())))
        .with(layer)
        .try_init();
}

/// Whether to write colours to a stream (<https://no-color.org>).
pub fn colors(is_terminal: bool) -> bool {
    is_terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

fn filter(environment: Option<String>, level: &str) -> EnvFilter {
    let wanted = environment.filter(|text| !text.is_empty());
    let wanted = wanted.and_then(|text| EnvFilter::try_new(text).ok());
    wanted.or_else(|| EnvFilter::try_new(level).ok()).unwrap_or_default()
}

fn is_allowed(target: &str, level: Level) -> bool {
    let of = target.split("::").next().unwrap_or(target);
    of != MUTED && (!CAPPED.contains(&of) || level <= Level::WARN)
}

/// Standard error, above the progress bars if there are any.
struct Above {
    json: bool,
}

impl Write for Above {
    fn write(&mut self, line: &[u8]) -> std::io::Result<usize> {
        // A whole line each time: that is how the formatter writes.
        let tamed = self.json.then(|| tame_json(&String::from_utf8_lossy(line)));
        let shown = tamed.as_ref().map_or(line, |text| text.as_bytes());
        BARS.suspend(|| std::io::stderr().write_all(shown))?;
        Ok(line.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        std::io::stderr().flush()
    }
}

/// Fields on one line and harmless to look at: they hold servers' words and folders' names. JSON
/// has its own escapes.
struct Tame;

impl<'w> FormatFields<'w> for Tame {
    fn format_fields<R: RecordFields>(&self, mut writer: Writer<'w>, fields: R) -> fmt::Result {
        let mut text = String::new();
        DefaultFields::new().format_fields(Writer::new(&mut text), fields)?;
        writer.write_str(&tame(&text.replace('\n', " ")))
    }
}

/// Lines as journald reads them from a service's standard error: `<6>` and so on in front
/// (sd-daemon(3)); it knows the time itself.
struct Journald;

impl<S, N> FormatEvent<S, N> for Journald
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        write!(writer, "<{}>", priority(*event.metadata().level()))?;
        // Each line needs its own prefix; fields are on one line.
        context.field_format().format_fields(writer.by_ref(), event)?;
        writeln!(writer)
    }
}

/// As syslog(3) numbers them.
fn priority(level: Level) -> u8 {
    match level {
        Level::ERROR => 3,
        Level::WARN => 4,
        Level::INFO => 6,
        _ => 7,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wire_logs_stay_off_whatever_is_asked_for() {
        for target in ["async_imap", "async_imap::imap_stream", "imap_proto::parser"] {
            assert!(!is_allowed(target, Level::TRACE), "{target}");
            assert!(!is_allowed(target, Level::INFO), "{target}");
            assert!(is_allowed(target, Level::WARN), "{target}");
        }
        assert!(is_allowed("drover::platform::imap", Level::TRACE));
    }

    #[test]
    fn the_environment_is_stronger_than_the_configuration_unless_it_is_nonsense() {
        assert!(filter(Some("debug".into()), "error").to_string().contains("debug"));
        assert!(filter(Some(String::new()), "error").to_string().contains("error"));
        assert!(filter(Some("=!=".into()), "error").to_string().contains("error"));
        assert!(filter(None, "drover=debug,info").to_string().contains("drover=debug"));
    }

    #[test]
    fn journald_gets_syslog_priorities() {
        assert_eq!(
            [Level::ERROR, Level::WARN, Level::INFO, Level::DEBUG].map(priority),
            [3, 4, 6, 7]
        );
    }
}
