//! The commit that a recipe lies in, asked of a repository that is not trusted.
//!
//! A repository's settings can name programs: a file monitor, hooks, filters for contents, helpers for what must be fetched.
//! Nothing of that is run, and no lock is taken. The first two are turned off; contents are hashed as they lie on the disk,
//! because a filter has a name of its own and cannot be turned off; nothing is fetched. `git status` and even `diff-files`
//! are of no use here: where the index is as young as a file they look into it, through filters.

use std::collections::BTreeMap;
use std::fs::Metadata;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::UNIX_EPOCH;

/// The commit of the checkout that a recipe lies in.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Commit {
    /// Its hash.
    pub(crate) hash: String,
    /// Whether the commit alone does not give back what was run: a tracked file differs from it, or one of the recipe's files
    /// does, or is not in it at all. A file that only a filter would make equal counts as different.
    pub(crate) dirty: bool,
}

/// The commit of the checkout that the first of a recipe's files lies in, where links lead to; `None` where there is no
/// checkout, no commit yet or no git.
pub(crate) fn commit_of(files: &[PathBuf]) -> Option<Commit> {
    let files: Vec<PathBuf> = files.iter().map(|file| file.canonicalize()).collect::<Result<_, _>>().ok()?;
    let git = Git { folder: files.first()?.parent()?.to_owned() };
    let hash = git.line(&["rev-parse", "--verify", "HEAD^{commit}"])?;
    let root = PathBuf::from(git.line(&["rev-parse", "--show-toplevel"])?).canonicalize().ok()?;
    let git = Git { folder: root };
    let dirty = git.differs(&files).unwrap_or(true);
    Some(Commit { hash, dirty })
}

/// Git in one folder.
struct Git {
    folder: PathBuf,
}

impl Git {
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("git");
        command.arg("-C").arg(&self.folder);
        command.args(["-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null"]).args(arguments);
        command.env("GIT_OPTIONAL_LOCKS", "0").env("GIT_NO_LAZY_FETCH", "1").env("GIT_TERMINAL_PROMPT", "0");
        // Whoever started us may have been working in another repository.
        for name in ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_COMMON_DIR", "GIT_PREFIX"] {
            command.env_remove(name);
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        command
    }

    fn ask(&self, arguments: &[&str]) -> Option<String> {
        let output = self.command(arguments).output().ok().filter(|output| output.status.success())?;
        String::from_utf8(output.stdout).ok()
    }

    fn line(&self, arguments: &[&str]) -> Option<String> {
        Some(self.ask(arguments)?.trim_end_matches(['\n', '\r']).to_owned())
    }

    /// Whether tracked files or these ones are other than in the commit; `None` where that cannot be told.
    fn differs(&self, files: &[PathBuf]) -> Option<bool> {
        let tree = self.ask(&["ls-tree", "-r", "-z", "--full-tree", "HEAD"])?;
        // `mode type hash\tpath`; links and submodules are not looked into.
        let committed: BTreeMap<&str, &str> = tree
            .split_terminator('\0')
            .filter_map(|entry| {
                let (about, path) = entry.split_once('\t')?;
                about.starts_with("100").then_some((path, about.rsplit(' ').next()?))
            })
            .collect();
        let mut asked: Vec<String> = Vec::new();
        for file in files {
            match file.strip_prefix(&self.folder).ok().and_then(Path::to_str) {
                Some(path) if committed.contains_key(path) => asked.push(path.to_owned()),
                _ => return Some(true),
            }
        }
        let staged = ["diff-index", "--cached", "--quiet", "--ignore-submodules=all", "HEAD", "--"];
        if self.command(&staged).status().ok()?.code()? != 0 {
            return Some(true);
        }
        let touched = self.touched()?;
        asked.extend(touched.into_iter().filter(|path| committed.contains_key(path.as_str())));
        let hashes = self.hashes(&asked)?;
        Some(
            asked
                .iter()
                .zip(&hashes)
                .any(|(path, hash)| committed.get(path.as_str()) != Some(&hash.as_str())),
        )
    }

    /// The tracked files that may be other than in the index: those whose time or size is not the one noted there, or whose time
    /// is not before that of the index. Git itself would look into the latter, through filters.
    fn touched(&self) -> Option<Vec<String>> {
        let index = self.folder.join(self.line(&["rev-parse", "--git-path", "index"])?);
        let (written, _) = seconds(&index.metadata().ok()?)?;
        let listing = self.ask(&["ls-files", "--debug", "-z"])?;
        // `path\0`, five lines on it, and the next path.
        let mut parts = listing.split('\0');
        let mut path = parts.next()?;
        let mut touched = Vec::new();
        for part in parts {
            let mut lines = part.splitn(6, '\n');
            let about: Vec<&str> = lines.by_ref().take(5).map(str::trim).collect();
            let noted = |name: &str| about.iter().find_map(|line| line.strip_prefix(name));
            let (second, nano) = noted("mtime: ")?.split_once(':')?;
            let noted_at: (u64, u32) = (second.parse().ok()?, nano.parse().ok()?);
            let size: u64 = noted("size: ")?.split('\t').next()?.parse().ok()?;
            let same = self.folder.join(path).symlink_metadata().is_ok_and(|found| {
                // A git that was built without fractions of seconds notes none.
                let is_then =
                    |(second, nano)| second == noted_at.0 && (noted_at.1 == 0 || nano == noted_at.1);
                found.len() == size && seconds(&found).is_some_and(is_then)
            });
            if !same || noted_at.0 >= written {
                touched.push(path.to_owned());
            }
            path = lines.next().unwrap_or_default();
        }
        Some(touched)
    }

    /// The hashes of files as they lie on the disk; `None` where one of them is gone or cannot be read.
    fn hashes(&self, paths: &[String]) -> Option<Vec<String>> {
        if paths.is_empty() {
            return Some(Vec::new());
        }
        if paths.iter().any(|path| path.contains('\n')) {
            return None;
        }
        let mut command = self.command(&["hash-object", "--no-filters", "--stdin-paths"]);
        let mut child = command.stdin(Stdio::piped()).spawn().ok()?;
        let mut input = child.stdin.take()?;
        let text = paths.iter().map(|path| format!("{path}\n")).collect::<String>();
        // It answers while it is asked: the pipe must not fill up.
        let writer = std::thread::spawn(move || input.write_all(text.as_bytes()));
        let output = child.wait_with_output().ok()?;
        writer.join().ok()?.ok()?;
        let hashes: Vec<String> = String::from_utf8(output.stdout).ok()?.lines().map(str::to_owned).collect();
        (output.status.success() && hashes.len() == paths.len()).then_some(hashes)
    }
}

/// Seconds and nanoseconds since 1970 at which a file was changed.
fn seconds(metadata: &Metadata) -> Option<(u64, u32)> {
    let since = metadata.modified().ok()?.duration_since(UNIX_EPOCH).ok()?;
    Some((since.as_secs(), since.subsec_nanos()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::fs;

    use super::*;

    /// A checkout with one commit of `recipe.toml` and `base.toml`.
    struct Checkout(tempfile::TempDir);

    impl Checkout {
        fn new() -> Self {
            let checkout = Self(tempfile::tempdir().unwrap());
            checkout.git(&["init", "-q"]);
            checkout.git(&["config", "user.name", "a"]);
            checkout.git(&["config", "user.email", "a@b"]);
            checkout.write("recipe.toml", "name = 'a'\n");
            checkout.write("base.toml", "# base\n");
            checkout.git(&["add", "."]);
            checkout.git(&["commit", "-q", "-m", "one"]);
            checkout
        }

        fn path(&self, name: &str) -> PathBuf {
            self.0.path().join(name)
        }

        fn write(&self, name: &str, text: &str) {
            fs::write(self.path(name), text).unwrap();
        }

        fn git(&self, arguments: &[&str]) {
            let status = Command::new("git").arg("-C").arg(self.0.path()).args(arguments).status().unwrap();
            assert!(status.success(), "{arguments:?}");
        }

        fn dirty(&self, files: &[&str]) -> bool {
            let files: Vec<PathBuf> = files.iter().map(|name| self.path(name)).collect();
            let commit = commit_of(&files).unwrap();
            assert_eq!(commit.hash.len(), 40);
            commit.dirty
        }
    }

    #[test]
    fn a_folder_outside_of_any_checkout_has_no_commit() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("recipe.toml"), "").unwrap();
        assert_eq!(commit_of(&[folder.path().join("recipe.toml")]), None);
        assert_eq!(commit_of(&[folder.path().join("absent.toml")]), None);
        assert_eq!(commit_of(&[]), None);
    }

    #[test]
    fn what_the_commit_does_not_give_back_is_dirty() {
        let checkout = Checkout::new();
        assert!(!checkout.dirty(&["recipe.toml", "base.toml"]));
        // Touched, but the same.
        checkout.write("base.toml", "# base\n");
        assert!(!checkout.dirty(&["recipe.toml"]));
        // Not in the commit: never added, and ignored.
        checkout.write("other.toml", "name = 'b'\n");
        assert!(checkout.dirty(&["other.toml"]) && !checkout.dirty(&["recipe.toml"]));
        checkout.write(".git/info/exclude", "other.toml\n");
        assert!(checkout.dirty(&["other.toml"]));
        // Nor is what it extends.
        assert!(checkout.dirty(&["recipe.toml", "other.toml"]));
        // Added, not committed.
        checkout.git(&["add", "-f", "other.toml"]);
        assert!(checkout.dirty(&["other.toml"]) && checkout.dirty(&["recipe.toml"]));
        checkout.git(&["commit", "-q", "-m", "two"]);
        assert!(!checkout.dirty(&["other.toml"]));
        // Changed, in the recipe or elsewhere.
        checkout.write("base.toml", "# changed\n");
        assert!(checkout.dirty(&["base.toml"]) && checkout.dirty(&["recipe.toml"]));
        checkout.git(&["checkout", "-q", "base.toml"]);
        assert!(!checkout.dirty(&["recipe.toml"]));
        fs::remove_file(checkout.path("base.toml")).unwrap();
        assert!(checkout.dirty(&["recipe.toml"]));
    }

    #[test]
    fn changes_that_git_is_told_to_overlook_are_seen_in_the_recipe() {
        let checkout = Checkout::new();
        checkout.git(&["update-index", "--assume-unchanged", "recipe.toml"]);
        checkout.write("recipe.toml", "name = 'changed'\n");
        assert!(checkout.dirty(&["recipe.toml"]));
    }

    #[cfg(unix)]
    #[test]
    fn nothing_of_the_repository_is_run_and_no_lock_is_taken() {
        use std::os::unix::fs::PermissionsExt as _;
        let checkout = Checkout::new();
        let (script, marker) = (checkout.path(".git/run-me"), checkout.path(".git/was-run"));
        fs::write(&script, format!("#!/bin/sh\ntouch '{}'\ncat\n", marker.display())).unwrap();
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
        let program = script.to_str().unwrap();
        let hooks = checkout.path(".git/hooks");
        fs::create_dir_all(&hooks).unwrap();
        for hook in ["post-index-change", "fsmonitor-watchman", "post-checkout", "reference-transaction"] {
            fs::copy(&script, hooks.join(hook)).unwrap();
        }
        for (key, value) in [
            ("core.fsmonitor", program),
            ("core.hooksPath", hooks.to_str().unwrap()),
            ("core.pager", program),
            ("diff.external", program),
            ("filter.own.clean", program),
            ("filter.own.process", program),
            ("core.sshCommand", program),
            ("core.alternateRefsCommand", program),
            ("diff.own.textconv", program),
        ] {
            fs::OpenOptions::new()
                .append(true)
                .open(checkout.path(".git/config"))
                .and_then(|mut file| {
                    let (section, name) = key.rsplit_once('.').unwrap();
                    let section =
                        section.split_once('.').map_or(section.to_owned(), |(a, b)| format!("{a} \"{b}\""));
                    writeln!(file, "[{section}]\n\t{name} = {value}")
                })
                .unwrap();
        }
        checkout.write(".git/info/attributes", "* filter=own diff=own\n");
        // Both must be looked into.
        checkout.write("recipe.toml", "name = 'b'\n");
        checkout.write("base.toml", "# base\n");
        let index = fs::read(checkout.path(".git/index")).unwrap();
        // Somebody else has the lock.
        checkout.write(".git/index.lock", "");
        assert!(checkout.dirty(&["recipe.toml"]));
        checkout.write("recipe.toml", "name = 'a'\n");
        assert!(!checkout.dirty(&["recipe.toml"]));
        assert!(!marker.exists(), "a program of the repository was run");
        assert_eq!(fs::read(checkout.path(".git/index")).unwrap(), index);
        // The trap works: what most programs call does run it.
        fs::remove_file(checkout.path(".git/index.lock")).unwrap();
        let _ = Command::new("git").arg("-C").arg(checkout.0.path()).args(["status", "--porcelain"]).output();
        assert!(marker.exists());
    }
}
