//! A page in a headless Chromium.
//!
//! The browser is `CHROMIUM` or the first of chromium, chromium-browser and google-chrome on the path. Without one
//! the tests are skipped, unless `CROSSLOOM_REQUIRE_BROWSER=1`.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A page and a browser to open it.
pub(crate) struct Session {
    browser: PathBuf,
    folder: tempfile::TempDir,
    address: String,
}

impl Session {
    /// Writes the page and finds a browser; none if there is none and none is required.
    pub(crate) fn open(page: &str) -> Option<Self> {
        let mut session = Self::visit("")?;
        let file = session.folder.path().join("report.html");
        std::fs::write(&file, page).expect("the page is written");
        session.address = format!("file://{}", file.display());
        Some(session)
    }

    /// Finds a browser for a page that lies at an address; none if there is none and none is required.
    pub(crate) fn visit(address: &str) -> Option<Self> {
        let Some(browser) = find_browser() else {
            let required = std::env::var("CROSSLOOM_REQUIRE_BROWSER").is_ok_and(|value| value == "1");
            assert!(!required, "CROSSLOOM_REQUIRE_BROWSER is set, but no Chromium was found");
            println!("skipped: no Chromium was found (set CHROMIUM to its path)");
            return None;
        };
        let folder = tempfile::tempdir().expect("a temporary folder");
        Some(Self { browser, folder, address: address.to_owned() })
    }

    /// Opens the page at `#fragment`.
    pub(crate) fn run(&self, fragment: &str, arguments: &[&str]) -> Output {
        let address = format!("{}{fragment}", self.address);
        Command::new(&self.browser)
            .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"])
            .args(["--disable-background-networking", "--disable-component-update", "--disable-sync"])
            .args(["--hide-scrollbars", "--enable-logging=stderr", "--v=0", "--virtual-time-budget=4000"])
            .arg(format!("--user-data-dir={}", self.folder.path().join("profile").display()))
            .args(arguments)
            .arg(address)
            .output()
            .expect("the browser starts")
    }

    /// The document after its script ran; fails on any error that the page or its console reports.
    pub(crate) fn document(&self, fragment: &str) -> String {
        let output = self.run(fragment, &["--dump-dom"]);
        let log = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{log}");
        assert!(!log.contains("CONSOLE"), "the console has an entry:\n{log}");
        let document = String::from_utf8_lossy(&output.stdout).into_owned();
        let root = document.split_once("<head>").expect("a document").0;
        assert!(root.contains("data-ready=\"1\""), "the script did not finish: {root}");
        assert!(!root.contains("data-errors"), "the script failed: {root}");
        document
    }

    /// Writes a picture of the page, `size` being `width,height`.
    pub(crate) fn screenshot(&self, file: &Path, size: &str) {
        let output =
            self.run("", &[&format!("--screenshot={}", file.display()), &format!("--window-size={size}")]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

fn find_browser() -> Option<PathBuf> {
    if let Some(path) = std::env::var_os("CHROMIUM").filter(|path| !path.is_empty()) {
        return Some(path.into());
    }
    let folders = std::env::var_os("PATH")?;
    let names = ["chromium", "chromium-browser", "google-chrome"];
    let candidates =
        names.iter().flat_map(|name| std::env::split_paths(&folders).map(move |folder| folder.join(name)));
    candidates.into_iter().find(|path| path.is_file())
}
