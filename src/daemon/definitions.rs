//! The directory of definitions, as the daemon and a single command read it.

use std::path::Path;
use std::time::Duration;

use crate::config::Config;
use crate::controller::catalog::{self, Catalog, Problem, Snapshot};
use crate::definition::{self, Diagnostic, Migration, MigrationName};

/// How often and how far apart a single command looks at a definition that is being written.
const LOOKS: u32 = 12;
const BETWEEN_LOOKS: Duration = Duration::from_millis(250);

/// The directory of definitions; nothing of it is read yet.
pub(super) fn catalog(config: &Config) -> Catalog {
    Catalog::new(config.definitions.clone(), Box::new(load), Box::new(conflicts))
}

/// What the directory says once nobody writes in it, if these migrations were known before.
///
/// # Errors
/// A defect of drover, in words.
pub(super) async fn read(config: &Config, known: Vec<MigrationName>) -> Result<Snapshot, String> {
    let mut catalog = catalog(config);
    catalog.remember(known);
    let read = tokio::task::spawn_blocking(move || settled(&mut catalog)).await;
    read.map_err(|error| error.to_string())
}

/// A file that was just written is not judged at once, for it may be written in pieces.
fn settled(catalog: &mut Catalog) -> Snapshot {
    let mut look = catalog.look(false);
    for _ in 0..LOOKS {
        if look.unsettled {
            std::thread::sleep(BETWEEN_LOOKS);
            look = catalog.look(false);
        }
    }
    look.snapshot
}

fn load(file: &Path) -> Result<catalog::Loaded, catalog::Rejected> {
    match definition::load(file) {
        Ok(loaded) => Ok(catalog::Loaded {
            migration: loaded.migration,
            warnings: loaded.warnings.iter().map(problem).collect(),
            files: loaded.files,
        }),
        Err(rejected) => Err(catalog::Rejected {
            problems: rejected.diagnostics.iter().map(problem).collect(),
            files: rejected.files,
        }),
    }
}

fn conflicts(migrations: &[&Migration]) -> Vec<Problem> {
    definition::conflicts(migrations).iter().map(problem).collect()
}

fn problem(diagnostic: &Diagnostic) -> Problem {
    let help = diagnostic.help.as_deref().unwrap_or_default();
    let separator = if help.is_empty() { "" } else { "; " };
    Problem {
        file: diagnostic.file.clone().into(),
        line: diagnostic.line.unwrap_or(0),
        column: diagnostic.column.unwrap_or(0),
        message: format!("{}{separator}{help}", diagnostic.message),
        rendered: diagnostic.render(false),
    }
}
