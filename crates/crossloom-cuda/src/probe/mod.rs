//! What this machine has of CUDA: driver, devices and libraries.
//!
//! A library is opened only if the file is whole (see `elf.rs`), stays open until the process ends, as drivers start
//! threads, and is asked only through functions that were found in it. Its own code runs in this process, so a library that crashes
//! takes the process with it.

mod driver;
mod elf;
mod library;
mod places;
mod wanted;

use serde::Serialize;

pub use driver::{DeviceFound, Driver};
pub(crate) use library::Open;
pub use library::{LibraryFound, Rejected};
pub use places::Places;

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Findings {
    /// The driver's answers.
    pub driver: Driver,
    /// The driver's library, the compiler of kernels, its builtins, and the library of matrix products, in this order.
    pub libraries: Vec<LibraryFound>,
}

impl Findings {
    /// What this machine has, as far as this process is shown the way, see [`Places::of_user`].
    pub fn of_machine() -> Self {
        probe(&Places::of_user())
    }

    /// Everything that keeps kernels from being compiled and run here, one sentence each; empty if nothing does.
    pub fn obstacles(&self) -> Vec<String> {
        self.obstacles_by(|_| true)
    }

    /// The same, as far as it is the driver, its devices, or one of those libraries.
    pub(crate) fn obstacles_of(&self, libraries: &[&str]) -> Vec<String> {
        self.obstacles_by(|name| libraries.contains(&name))
    }

    fn obstacles_by(&self, needed: impl Fn(&str) -> bool) -> Vec<String> {
        let mut found = Vec::new();
        for library in self.libraries.iter().filter(|library| needed(library.name)) {
            if library.path.is_none() {
                found.push(format!("{} was not found", library.name));
            } else if !library.missing.is_empty() {
                found.push(format!("{} lacks {}", library.name, library.missing.join(", ")));
            }
        }
        found.extend(self.driver.problem.clone());
        if self.driver.problem.is_none() && self.driver.devices.is_empty() {
            found.push("the driver knows no device".to_owned());
        }
        found
    }
}

/// Looks for the compiler of kernels alone.
pub(crate) fn compiler(places: &Places) -> (LibraryFound, Option<Open>) {
    let library::Looked { told, open } = library::find(&wanted::NVRTC, places);
    (told, open)
}

/// Looks for the library of matrix products alone.
pub(crate) fn product_library(places: &Places) -> (LibraryFound, Option<Open>) {
    let library::Looked { told, open } = library::find(&wanted::CUBLAS_LT, places);
    (told, open)
}

/// Whether an open library is the driver that is found there.
pub(crate) fn is_driver(places: &Places, library: &libloading::Library) -> bool {
    let found = library::find(&wanted::DRIVER, places).open.and_then(|open| open.address("cuInit"));
    // SAFETY: any symbol is an address; it is not called.
    let other = unsafe { library.get::<*const std::ffi::c_void>("cuInit") }.ok().map(|symbol| *symbol);
    found.is_some() && found == other
}

/// Looks for CUDA. Whatever is missing, broken or unreadable is part of what is returned.
pub fn probe(places: &Places) -> Findings {
    let driver = library::find(&wanted::DRIVER, places);
    let nvrtc = library::find(&wanted::NVRTC, places);
    let builtins = library::builtins(&nvrtc, places);
    let products = library::find(&wanted::CUBLAS_LT, places);
    let answers = driver::ask(driver.open.as_ref());
    let libraries = [driver, nvrtc, builtins, products].into_iter().map(|library| library.told).collect();
    Findings { driver: answers, libraries }
}
