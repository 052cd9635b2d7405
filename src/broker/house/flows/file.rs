//! `file`: what is given is written to a file, and given again from there.
//!
//! A file begins with [`MAGIC`]; each message follows behind its length (4 octets, the most
//! significant first), in the encoding of one frame, with label and coordinates as they came. A
//! file whose flow was cut off has all messages but the last one whole.

use std::fs::File;
use std::io::{self, BufReader, ErrorKind, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Mode, OFlags, fstat, mkdirat, open as open_folder, openat};
use rustix::io::Errno;
use tokio::task::spawn_blocking;
use tracing::info;

use crate::config::FlowHandler;
use crate::wire::message::Message;
use crate::wire::zio::{Shape, Zio};

use super::talk::{Given, Talk};
use super::{Failed, Tally};

/// What a file begins with.
const MAGIC: &[u8; 8] = b"ZIOFLOW1";
/// Longest name below the folder, octets, and most folders between.
const NAME_MAX: usize = 1024;
const FOLDERS_MAX: usize = 16;
/// Steps of a template.
const FUEL: u64 = 10_000;
/// Octets of messages that are read ahead.
const AHEAD: usize = 1 << 20;

/// A file that is written.
pub(super) struct Writer {
    file: File,
    name: String,
}

/// A file that is read.
pub(super) struct Reader {
    file: BufReader<File>,
    name: String,
    message_max: usize,
}

/// Makes the file of a flow; there must be none of its name.
pub(super) async fn create(handler: &FlowHandler, given: &Given) -> Result<Writer, Failed> {
    let (folder, name) = place(handler, given)?;
    blocking(move || {
        let opened = beneath(&folder, &name, true).and_then(|file| {
            let mut file = File::from(file);
            file.write_all(MAGIC)?;
            Ok(file)
        });
        let file = opened.map_err(|error| Failed::Declined(format!("{name}: {error}")))?;
        Ok(Writer { file, name })
    })
    .await
}

/// Opens the file of a flow, whose messages are to have `message_max` octets at most.
pub(super) async fn open(
    handler: &FlowHandler,
    given: &Given,
    message_max: usize,
) -> Result<Reader, Failed> {
    let (folder, name) = place(handler, given)?;
    blocking(move || {
        let opened = beneath(&folder, &name, false).and_then(|file| {
            let mut file = BufReader::new(File::from(file));
            let mut magic = [0; MAGIC.len()];
            file.read_exact(&mut magic)?;
            let known = magic == *MAGIC;
            known.then_some(file).ok_or_else(|| io::Error::other("it is no file of a flow"))
        });
        let file = opened.map_err(|error| Failed::Declined(format!("{name}: {error}")))?;
        Ok(Reader { file, name, message_max })
    })
    .await
}

impl Writer {
    /// Writes what is given. When its EOT is answered all of it is on the disk.
    pub(super) async fn run(mut self, mut talk: Talk) -> Result<Tally, Failed> {
        let mut tally = Tally::default();
        loop {
            talk.pay()?;
            let taken = talk.take().await?;
            let mut octets = Vec::new();
            for dat in &taken.dats {
                tally.add(dat.bytes());
                put(dat, &mut octets)?;
            }
            let ended = taken.ended;
            let written = blocking(move || {
                let done = self.file.write_all(&octets);
                let done = done.and_then(|()| if ended { self.file.sync_data() } else { Ok(()) });
                done.map(|()| self).map_err(|error| Failed::Broken(error.to_string()))
            });
            match written.await {
                Ok(writer) => self = writer,
                Err(failed) => {
                    let label = serde_json::json!({ "error": failed.to_string() }).to_string();
                    talk.end_with(&label).await?;
                    return Err(failed);
                }
            }
            if ended {
                let (file, Tally { messages, octets }) = (&self.name, tally);
                info!(%file, messages, octets, "a flow was written");
                talk.end().await?;
                return Ok(tally);
            }
        }
    }
}

impl Reader {
    /// Gives what is in the file.
    pub(super) async fn run(mut self, mut talk: Talk) -> Result<Tally, Failed> {
        use crate::proto::flow::State;
        let mut tally = Tally::default();
        loop {
            let read = blocking(move || {
                let messages = self.next_messages();
                messages.map(|it| (self, it)).map_err(|error| Failed::Broken(error.to_string()))
            });
            let messages = match read.await {
                Ok((reader, messages)) => {
                    self = reader;
                    messages
                }
                Err(failed) => {
                    let label = serde_json::json!({ "error": failed.to_string() }).to_string();
                    talk.end_with(&label).await?;
                    return Err(failed);
                }
            };
            let is_end = messages.is_empty();
            for message in messages {
                let dat = Zio::decode(Shape::Single, message.frames());
                let dat = dat.map_err(|error| Failed::Broken(error.to_string()))?;
                if let Err(failed) = talk.earn(&dat).await {
                    let label = serde_json::json!({ "error": failed.to_string() }).to_string();
                    talk.end_with(&label).await?;
                    return Err(failed);
                }
                if talk.state() == State::FinAck {
                    talk.end().await?;
                    return Ok(tally);
                }
                talk.give(&dat)?;
                tally.add(message.bytes());
            }
            if is_end {
                let (file, Tally { messages, octets }) = (&self.name, tally);
                info!(%file, messages, octets, "a flow was read");
                talk.end().await?;
                return Ok(tally);
            }
        }
    }

    /// Some messages; none at the end.
    fn next_messages(&mut self) -> io::Result<Vec<Message>> {
        let (mut messages, mut octets) = (Vec::new(), 0);
        while octets < AHEAD {
            let mut len = [0; 4];
            match self.file.read_exact(&mut len) {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => break,
                Err(error) => return Err(error),
            }
            let len = usize::try_from(u32::from_be_bytes(len)).unwrap_or(usize::MAX);
            if len > self.message_max {
                return Err(io::Error::other("a message in the file is over limits.frame"));
            }
            let mut message = vec![0; len];
            match self.file.read_exact(&mut message) {
                Ok(()) => {}
                // The flow that was written was cut off here.
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => break,
                Err(error) => return Err(error),
            }
            octets += len;
            messages.push(Message::from(message));
        }
        Ok(messages)
    }
}

fn put(dat: &Message, octets: &mut Vec<u8>) -> Result<(), Failed> {
    let zio = Zio::decode(Shape::Multipart, dat.frames());
    let zio = zio.map_err(|error| Failed::Broken(error.to_string()))?;
    let single = zio.to_message(Shape::Single);
    let len = u32::try_from(single.first().len());
    let len = len.map_err(|_| Failed::Broken("a message of 4 GiB and more".into()))?;
    octets.extend_from_slice(&len.to_be_bytes());
    octets.extend_from_slice(single.first());
    Ok(())
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Failed> + Send + 'static,
) -> Result<T, Failed> {
    let stopped = |_| Err(Failed::Broken("the broker stops".into()));
    spawn_blocking(work).await.unwrap_or_else(stopped)
}

/// The folder, and the name below it that the template makes of the label.
fn place(handler: &FlowHandler, given: &Given) -> Result<(PathBuf, String), Failed> {
    let folder = handler.folder.clone().unwrap_or_default();
    let name = name_of(&handler.name, given.zio().label).map_err(Failed::Declined)?;
    Ok((folder, name))
}

fn name_of(template: &str, label: &str) -> Result<String, String> {
    let label: serde_json::Map<String, serde_json::Value> =
        serde_json::from_str(label).map_err(|error| format!("its label: {error}"))?;
    let mut engine = minijinja::Environment::new();
    engine.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
    engine.set_undefined_behavior(minijinja::UndefinedBehavior::Strict);
    engine.set_fuel(Some(FUEL));
    let attributes = label.into_iter().map(|(name, value)| (name, attribute(value)));
    let name = engine.render_str(template, minijinja::Value::from_pairs(attributes));
    let name = name.map_err(|error| format!("no name can be made of its label: {error}"))?;
    let whole = name.len() <= NAME_MAX && name.split('/').count() <= FOLDERS_MAX;
    if whole && name.split('/').all(is_name) {
        Ok(name)
    } else {
        Err(format!("{:?} is no name of a file", name.chars().take(80).collect::<String>()))
    }
}

/// What is no text, no whole number and no truth value is the JSON that it is written as.
fn attribute(value: serde_json::Value) -> minijinja::Value {
    match value {
        serde_json::Value::String(text) => text.into(),
        serde_json::Value::Bool(is_so) => is_so.into(),
        value => match value.as_i64() {
            Some(number) => number.into(),
            None => value.to_string().into(),
        },
    }
}

/// Hidden files, and ways out of a folder, are none.
fn is_name(name: &str) -> bool {
    (1..=255).contains(&name.len()) && !name.starts_with('.') && !name.contains(char::is_control)
}

/// Opens a file below a folder, and nothing else: no link is followed on the way.
fn beneath(folder: &Path, name: &str, new: bool) -> io::Result<OwnedFd> {
    let between = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let mut above = open_folder(folder, between, Mode::empty())?;
    let (folders, last) = name.rsplit_once('/').unwrap_or(("", name));
    for step in folders.split('/').filter(|step| !step.is_empty()) {
        if new {
            match mkdirat(above.as_fd(), step, Mode::from_raw_mode(0o777)) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(error) => return Err(error.into()),
            }
        }
        above = openat(above.as_fd(), step, between | OFlags::NOFOLLOW, Mode::empty())?;
    }
    let flags = OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
    if new {
        let flags = flags | OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL;
        return Ok(openat(above.as_fd(), last, flags, Mode::from_raw_mode(0o666))?);
    }
    let file = openat(above.as_fd(), last, flags | OFlags::RDONLY, Mode::empty())?;
    let is_file = FileType::from_raw_mode(fstat(&file)?.st_mode) == FileType::RegularFile;
    is_file.then_some(file).ok_or_else(|| io::Error::other("it is no file"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_made_of_attributes_and_stays_below_the_folder() {
        let label = r#"{"flow": "BOT", "run": 7, "stream": "raw", "up": "..", "in": "a/b"}"#;
        for (template, name) in [
            ("{{ stream }}.zio", Ok("raw.zio")),
            ("runs/{{ run }}/{{ stream }}", Ok("runs/7/raw")),
            ("{{ in }}", Ok("a/b")),
            ("{{ stream | upper }}", Ok("RAW")),
            ("{{ up }}", Err(())),
            ("a/{{ up }}/b", Err(())),
            ("/{{ stream }}", Err(())),
            ("{{ stream }}/", Err(())),
            (".{{ stream }}", Err(())),
            ("{{ nothing }}", Err(())),
            ("", Err(())),
            ("a\nb", Err(())),
        ] {
            assert_eq!(
                name_of(template, label).map_err(drop),
                name.map(String::from),
                "{template}"
            );
        }
    }

    #[test]
    fn no_link_leads_out() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("root");
        std::fs::create_dir_all(root.join("in")).unwrap();
        std::fs::write(folder.path().join("secret"), "x").unwrap();
        std::os::unix::fs::symlink("../secret", root.join("out")).unwrap();
        std::os::unix::fs::symlink("..", root.join("up")).unwrap();
        assert!(beneath(&root, "out", false).is_err());
        assert!(beneath(&root, "up/secret", false).is_err());
        assert!(beneath(&root, "up/new", true).is_err());
        assert!(beneath(&root, "out", true).is_err());
        assert!(beneath(&root, "in", false).is_err(), "it is a folder");
        assert!(beneath(&root, "in/deep/new", true).is_ok());
        assert!(beneath(&root, "in/deep/new", true).is_err(), "it is there already");
        assert!(beneath(&root, "in/deep/new", false).is_ok());
        assert_eq!(std::fs::read(folder.path().join("secret")).unwrap(), b"x");
    }
}
