use std::fs;
use std::os::unix::fs::symlink;

use tempfile::TempDir;

use super::*;

fn url(text: &str) -> FileUrl {
    text.parse().unwrap()
}

fn folder() -> (TempDir, Store) {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("root");
    for sub in ["a/b", ".git", "__norfab__/files", "x__y/z__w", "empty"] {
        fs::create_dir_all(root.join(sub)).unwrap();
    }
    for (name, text) in [
        ("one.txt", "one"),
        ("zero", ""),
        ("a/two.txt", "two!"),
        ("a/b/three", "33333"),
        (".hidden", "h"),
        (".git/config", "g"),
        ("__norfab__/files/key", "k"),
        ("x__y/f", "f"),
        ("x__y/z__w/deep", "d"),
    ] {
        fs::write(root.join(name), text).unwrap();
    }
    fs::write(folder.path().join("secret"), "secret").unwrap();
    symlink("../secret", root.join("out")).unwrap();
    symlink("a/two.txt", root.join("in")).unwrap();
    symlink("..", root.join("a/up")).unwrap();
    symlink("a", root.join("aa")).unwrap();
    let fifo = std::process::Command::new("mkfifo").arg(root.join("pipe")).status().unwrap();
    assert!(fifo.success());
    let store = Store::open(root).unwrap();
    (folder, store)
}

#[tokio::test]
async fn a_folder_is_listed_by_name_without_what_is_hidden_or_outside() {
    let (_folder, store) = folder();
    let list = store.list(&FileUrl::root()).await.unwrap();
    let list: Vec<_> = list.iter().map(|it| (it.name.as_str(), it.folder, it.size)).collect();
    let expected = [
        ("a", true, 0),
        ("aa", true, 0),
        ("empty", true, 0),
        ("in", false, 4),
        ("one.txt", false, 3),
        ("x__y", true, 0),
        ("zero", false, 0),
    ];
    assert_eq!(list, expected);
    assert_eq!(store.list(&url("nf://empty")).await, Ok(Vec::new()));
    for (name, error) in [
        ("nf://nothing", FileError::NoFolder { url: url("nf://nothing") }),
        ("nf://one.txt", FileError::NoFolder { url: url("nf://one.txt") }),
        ("nf://.git", FileError::Hidden { url: url("nf://.git") }),
        ("nf://a/b/.x/y", FileError::Hidden { url: url("nf://a/b/.x/y") }),
    ] {
        assert_eq!(store.list(&url(name)).await, Err(error), "{name}");
    }
    assert_eq!(
        store.list(&url("nf://nothing")).await.unwrap_err().norfab(""),
        "Directory Not Found"
    );
}

#[tokio::test]
async fn walking_finds_all_files_and_does_not_go_in_circles() {
    let (_folder, store) = folder();
    let walk = |name: &str| {
        let (store, url) = (store.clone(), url(name));
        async move {
            store
                .walk(&url)
                .await
                .map(|urls| urls.iter().map(ToString::to_string).collect::<Vec<_>>())
        }
    };
    let all =
        ["nf://in", "nf://one.txt", "nf://zero", "nf://a/two.txt", "nf://a/b/three", "nf://x__y/f"];
    assert_eq!(walk("nf://").await.unwrap(), all);
    assert_eq!(walk("nf://a").await.unwrap(), ["nf://a/two.txt", "nf://a/b/three"]);
    assert_eq!(walk("nf://zero").await, Err(FileError::NoFolder { url: url("nf://zero") }));
    let hidden = Store::with_hidden(store.path(), true).unwrap();
    let all = hidden.walk(&FileUrl::root()).await.unwrap();
    assert!(all.contains(&url("nf://.git/config")) && all.contains(&url("nf://x__y/z__w/deep")));
    assert_eq!(all.len(), 10, "{all:?}");
}

#[tokio::test]
async fn files_are_read_in_chunks_and_only_below_the_folder() {
    let (_folder, store) = folder();
    let read = |name: &str, offset, length| {
        let (store, url) = (store.clone(), url(name));
        async move { store.read(&url, offset, length).await }
    };
    let chunk = |octets: &'static str, size| Ok(Chunk { octets: octets.into(), size });
    assert_eq!(read("nf://a/b/three", 0, 3).await, chunk("333", 5));
    assert_eq!(read("nf://a/b/three", 3, 3).await, chunk("33", 5));
    assert_eq!(read("nf://a/b/three", 5, 3).await, chunk("", 5));
    assert_eq!(read("nf://a/b/three", u64::MAX, 3).await, chunk("", 5));
    assert_eq!(read("nf://zero", 0, CHUNK_MAX as u64).await, chunk("", 0));
    assert_eq!(read("nf://in", 0, 9).await, chunk("two!", 4));
    assert_eq!(read("nf://aa/two.txt", 0, 9).await, chunk("two!", 4));
    let too_big = FileError::ChunkTooBig { length: CHUNK_MAX as u64 + 1, max: CHUNK_MAX };
    assert_eq!(read("nf://zero", 0, CHUNK_MAX as u64 + 1).await, Err(too_big));
    for (name, code) in [
        ("nf://out", "not_allowed"),
        ("nf://a/up/one.txt", "ok"),
        ("nf://.hidden", "not_allowed"),
        ("nf://__norfab__/files/key", "not_allowed"),
        ("nf://nothing", "not_found"),
        ("nf://a", "not_found"),
        ("nf://pipe", "not_found"),
        ("nf://one.txt/x", "not_found"),
    ] {
        let code_of = read(name, 0, 1).await.map_or_else(|error| error.code(), |_| "ok");
        assert_eq!(code_of, code, "{name}");
    }
}

#[tokio::test]
async fn details_are_size_and_digests() {
    let (_folder, store) = folder();
    let details = store.details(&url("nf://zero")).await.unwrap();
    assert_eq!((details.size, details.md5.as_str()), (0, "d41d8cd98f00b204e9800998ecf8427e"));
    let octets = vec![42; 3 << 20];
    fs::write(store.path().join("big"), &octets).unwrap();
    let big = store.details(&url("nf://big")).await.unwrap();
    assert_eq!((big.size, big.blake3), (3 << 20, blake3::hash(&octets).to_hex().to_string()));
    let error = store.details(&url("nf://nothing")).await.unwrap_err();
    assert_eq!(error.norfab("nf://nothing"), "'nf://nothing' file not found");
    assert!(matches!(Store::open("/nowhere"), Err(FileError::Unusable { .. })));
    assert!(matches!(Store::open("/etc/passwd"), Err(FileError::Unusable { .. })));
}

#[tokio::test]
async fn a_folder_that_is_renamed_or_swapped_for_a_link_does_not_let_out() {
    let (folder, store) = folder();
    let root = store.path().to_owned();
    let outside = folder.path().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("two.txt"), "secret").unwrap();
    let swap = {
        let (root, outside) = (root.clone(), outside.clone());
        std::thread::spawn(move || {
            for _ in 0..2_000 {
                fs::rename(root.join("a"), root.join("moved")).unwrap();
                symlink(&outside, root.join("a")).unwrap();
                fs::remove_file(root.join("a")).unwrap();
                fs::rename(root.join("moved"), root.join("a")).unwrap();
            }
        })
    };
    let (mut read, mut refused) = (0, 0);
    while !swap.is_finished() {
        match store.read(&url("nf://a/two.txt"), 0, 100).await {
            Ok(chunk) => {
                assert_eq!(chunk.octets, "two!");
                read += 1;
            }
            Err(error) => {
                assert!(matches!(error.code(), "not_found" | "not_allowed"), "{error}");
                refused += 1;
            }
        }
    }
    swap.join().unwrap();
    assert!(read > 0, "{read} read, {refused} refused");
}
