//! `file_url`: whatever a peer writes, a URL that is taken names something below the folder.

use std::path::{Component, Path};

use crate::folder::url::is_hidden;
use crate::folder::{FileUrl, UrlError};

/// The input is the text of a URL.
pub fn file_url(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let url: FileUrl = match text.parse() {
        Ok(url) => url,
        Err(error) => return refused(&text, &error),
    };
    let path = url.path();
    assert_eq!(Ok(&url), url.to_string().parse().as_ref(), "it says what was read");
    assert!(!path.starts_with('/') && !path.ends_with('/') && !path.contains("//"), "{path:?}");
    assert!(!path.contains(['\0', '\\', '\n']), "{path:?}");
    // Another reader of paths, that of the system: nothing but plain names, and the same ones.
    let names: Vec<_> = Path::new(path).components().collect();
    assert!(names.iter().all(|name| matches!(name, Component::Normal(_))), "{path:?}");
    let joined = Path::new("/served").join(path);
    assert!(joined.starts_with("/served"), "{joined:?}");
    assert_eq!(names.len(), path.split('/').filter(|name| !name.is_empty()).count(), "{path:?}");
    assert_eq!(url.name().map(str::len), names.last().map(|name| name.as_os_str().len()));
    if let Some(name) = url.name() {
        let above = path.strip_suffix(name).expect("it ends with its last name");
        let above: FileUrl = format!("nf://{above}").parse().expect("less of a URL is one");
        assert_eq!(above.join(name), Ok(url.clone()), "a name below the rest");
        let hidden = above.is_hidden() || is_hidden(name);
        assert_eq!(hidden, url.is_hidden(), "{path:?}");
    }
    for out in ["..", "", ".", "a/b", "/", "\0"] {
        assert!(url.join(out).is_err(), "{out:?} below {path:?}");
    }
}

/// What is refused is wrong in that way, by a reading that is as simple as can be.
fn refused(text: &str, error: &UrlError) {
    let rest = text.strip_prefix("nf://");
    let names = || rest.into_iter().flat_map(|rest| rest.split('/'));
    let wrong = match error {
        UrlError::Scheme => rest.is_none(),
        UrlError::Outside => text.starts_with("nf:///") || names().any(|name| name == ".."),
        UrlError::Forbidden(c) => text.contains(*c) && (*c == '\\' || c.is_control()),
        UrlError::TooLong { size, max, .. } => {
            size > max
                && (text.len() > 4096 || names().any(|it| it.len() > 255) || names().count() > 64)
        }
    };
    assert!(wrong, "{error:?} of {text:?}");
}
