//! A body, opened in the editor of whoever sits there.

use std::fs::{self, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::failure::{CliError, Exit};

/// Reads a file, or the standard input if it is `-`.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, CliError> {
    let read = if path == Path::new("-") {
        let mut octets = Vec::new();
        std::io::stdin().read_to_end(&mut octets).map(|_| octets)
    } else {
        fs::read(path)
    };
    read.map_err(|error| failed(&format!("cannot read {}: {error}", path.display())))
}

/// A file that is gone when this is.
struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        // Where it cannot be removed, nothing else can be done.
        let _ = fs::remove_file(&self.0);
    }
}

/// Has a body changed in `$VISUAL` or `$EDITOR`.
pub(super) fn edit(body: &[u8]) -> Result<Vec<u8>, CliError> {
    let variables = ["VISUAL", "EDITOR"].into_iter().filter_map(std::env::var_os);
    let editor = variables.into_iter().find(|editor| !editor.is_empty());
    let Some(editor) = editor else {
        return Err(CliError::usage("neither $VISUAL nor $EDITOR says which editor to open")
            .hint("set one, or give the new body with --body FILE"));
    };
    let mut random = [0; 8];
    getrandom::fill(&mut random)
        .map_err(|error| failed(&format!("the system gives no random name: {error}")))?;
    let name = format!("majordomo-dlq-{:016x}", u64::from_le_bytes(random));
    let scratch = Scratch(std::env::temp_dir().join(name));
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(0o600);
    options
        .open(&scratch.0)
        .and_then(|mut file| file.write_all(body))
        .map_err(|error| failed(&format!("cannot write {}: {error}", scratch.0.display())))?;
    // As a shell does: the variable may have arguments.
    let status = Command::new("sh")
        .arg("-c")
        .arg("exec $0 \"$1\"")
        .arg(&editor)
        .arg(&scratch.0)
        .status()
        .map_err(|error| failed(&format!("cannot run the editor: {error}")))?;
    if !status.success() {
        let editor = editor.to_string_lossy();
        return Err(failed(&format!("{editor} ended with {status}; nothing was changed")));
    }
    read(&scratch.0)
}

fn failed(message: &str) -> CliError {
    CliError::new(Exit::Failed, "editor", message)
}
