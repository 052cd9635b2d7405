//! Opens what is below a folder, and nothing else, whatever links there are and whoever changes
//! them meanwhile: the system itself holds the path to the folder.

use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags, openat};
use rustix::io::{Errno, Result};

/// How often a path is tried that somebody renames while it is walked.
#[cfg(target_os = "linux")]
const TRIES: usize = 16;

/// Opens `path`, names with `/` between them, to be read. Nothing waits for the other end of a
/// pipe. [`Errno::XDEV`]: a link leads out, or is absolute.
pub(super) fn open(root: BorrowedFd<'_>, path: &str, flags: OFlags) -> Result<OwnedFd> {
    let path = if path.is_empty() { "." } else { path };
    let flags = flags | OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    #[cfg(target_os = "linux")]
    {
        use rustix::fs::{ResolveFlags, openat2};
        let below = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        for _ in 0..TRIES {
            match openat2(root, path, flags, Mode::empty(), below) {
                Err(Errno::AGAIN) => {}
                // A system older than 5.6, or a sandbox that does not know the call.
                Err(Errno::NOSYS | Errno::PERM) => return without_links(root, path, flags),
                opened => return opened,
            }
        }
        Err(Errno::XDEV)
    }
    #[cfg(not(target_os = "linux"))]
    without_links(root, path, flags)
}

/// The same where the system cannot do it: name by name, and no link is followed at all.
fn without_links(root: BorrowedFd<'_>, path: &str, flags: OFlags) -> Result<OwnedFd> {
    let flags = flags | OFlags::NOFOLLOW;
    let between = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::DIRECTORY;
    let Some((folders, last)) = path.rsplit_once('/') else {
        return linked(root, path, openat(root, path, flags, Mode::empty()));
    };
    let mut above: Option<OwnedFd> = None;
    for name in folders.split('/') {
        let at = above.as_ref().map_or(root, std::os::fd::AsFd::as_fd);
        above = Some(linked(at, name, openat(at, name, between, Mode::empty()))?);
    }
    let at = above.as_ref().map_or(root, std::os::fd::AsFd::as_fd);
    linked(at, last, openat(at, last, flags, Mode::empty()))
}

/// A link where a folder must be is `NOTDIR` to the system; here it is a way out.
fn linked(at: BorrowedFd<'_>, name: &str, opened: Result<OwnedFd>) -> Result<OwnedFd> {
    use rustix::fs::{AtFlags, FileType, statat};
    opened.map_err(|error| {
        let is_link = statat(at, name, AtFlags::SYMLINK_NOFOLLOW)
            .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Symlink);
        if is_link { Errno::XDEV } else { error }
    })
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::io::Read;
    use std::os::fd::AsFd;
    use std::os::unix::fs::symlink;

    use super::*;

    type Open = fn(BorrowedFd<'_>, &str, OFlags) -> Result<OwnedFd>;

    #[test]
    fn nothing_outside_is_opened_with_links_or_without() {
        let folder = tempfile::tempdir().unwrap();
        let (root, outside) = (folder.path().join("root"), folder.path().join("outside"));
        fs::create_dir_all(root.join("sub")).unwrap();
        fs::create_dir(&outside).unwrap();
        fs::write(root.join("sub/file"), "inside").unwrap();
        fs::write(outside.join("file"), "outside").unwrap();
        symlink("sub/file", root.join("within")).unwrap();
        symlink("sub", root.join("folder")).unwrap();
        symlink("../outside/file", root.join("out")).unwrap();
        symlink(&outside, root.join("absolute")).unwrap();
        symlink("../../outside", root.join("sub/deeper")).unwrap();
        symlink("loop", root.join("loop")).unwrap();
        symlink("/proc/self/root", root.join("magic")).unwrap();
        let root = File::open(&root).unwrap();
        let text = |open: Open, path: &str| {
            open(root.as_fd(), path, OFlags::empty()).map(|opened| {
                let mut text = String::new();
                File::from(opened)
                    .read_to_string(&mut text)
                    .map_or_else(|_| "folder".into(), |_| text)
            })
        };
        for (path, expected, strict) in [
            ("sub/file", Ok("inside"), Ok("inside")),
            ("sub", Ok("folder"), Ok("folder")),
            (".", Ok("folder"), Ok("folder")),
            ("within", Ok("inside"), Err(Errno::XDEV)),
            ("folder/file", Ok("inside"), Err(Errno::XDEV)),
            ("out", Err(Errno::XDEV), Err(Errno::XDEV)),
            ("absolute", Err(Errno::XDEV), Err(Errno::XDEV)),
            ("absolute/file", Err(Errno::XDEV), Err(Errno::XDEV)),
            ("sub/deeper/file", Err(Errno::XDEV), Err(Errno::XDEV)),
            ("magic/etc/passwd", Err(Errno::XDEV), Err(Errno::XDEV)),
            ("loop", Err(Errno::LOOP), Err(Errno::XDEV)),
            ("nothing", Err(Errno::NOENT), Err(Errno::NOENT)),
            ("sub/file/x", Err(Errno::NOTDIR), Err(Errno::NOTDIR)),
        ] {
            assert_eq!(text(open, path), expected.map(String::from), "{path}");
            let flags =
                |root: BorrowedFd<'_>, path: &str, _| without_links(root, path, OFlags::RDONLY);
            assert_eq!(text(flags, path), strict.map(String::from), "{path}, without links");
        }
        // Even if such a URL could be made.
        assert_eq!(text(open, "../outside/file"), Err(Errno::XDEV));
        assert_eq!(text(open, "/etc/passwd"), Err(Errno::XDEV));
    }
}
