//! What `doctor` says of CUDA.

use crossloom_run::backends::{CudaFindings, DeviceFound, LibraryFound};

use crate::cli::{bytes, counted};

/// Its lines: the driver, each device, each library, each file that is none.
pub(super) fn lines(findings: &CudaFindings) -> Vec<(&'static str, String)> {
    let driver = match &findings.driver.problem {
        Some(problem) => problem.clone(),
        None => counted(findings.driver.devices.len(), "device"),
    };
    let mut lines = vec![("cuda", driver)];
    lines.extend(findings.driver.devices.iter().map(|found| ("gpu", device(found))));
    for found in &findings.libraries {
        lines.push(("library", format!("{} {}", found.name, library(found))));
        let rejected = found.rejected.iter();
        lines.extend(rejected.map(|file| ("", format!("{} {}", file.path.display(), file.reason))));
    }
    lines.push(("products", products(&findings.libraries)));
    lines
}

/// What computes matrix products.
fn products(libraries: &[LibraryFound]) -> String {
    match libraries.iter().find(|found| found.name == "cublasLt") {
        Some(found) if found.path.is_some() && found.missing.is_empty() => {
            "by cublasLt, where it can do what a product asks for".to_owned()
        }
        Some(found) if found.path.is_some() => {
            "by crossloom's own kernels: cublasLt lacks functions".to_owned()
        }
        _ => "by crossloom's own kernels: cublasLt was not found".to_owned(),
    }
}

fn device(found: &DeviceFound) -> String {
    let name = found.name.clone().unwrap_or_else(|| "without a name".to_owned());
    let capability =
        found.compute_capability.map(|(major, minor)| format!("compute capability {major}.{minor}"));
    let memory = found.memory.map(bytes);
    let count = found.multiprocessors.map(|count| counted(count as usize, "multiprocessor"));
    let known = [capability, memory, count].into_iter().flatten();
    std::iter::once(name).chain(known).collect::<Vec<_>>().join(", ")
}

fn library(found: &LibraryFound) -> String {
    let Some(path) = &found.path else { return "not found".to_owned() };
    let version = found.version.as_deref().unwrap_or("of an unknown version");
    let lacks = if found.missing.is_empty() {
        String::new()
    } else {
        format!("; lacks {}", found.missing.join(", "))
    };
    format!("{version}, {}{lacks}", path.display())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crossloom_run::backends::{Driver, Rejected};

    #[test]
    fn everything_that_was_found_is_a_line() {
        let device = DeviceFound {
            name: Some("NVIDIA Test 90".to_owned()),
            compute_capability: Some((9, 0)),
            memory: Some(150_754_820_096),
            multiprocessors: Some(132),
            shared_memory: None,
        };
        let driver = LibraryFound {
            name: "libcuda",
            path: Some("/lib/libcuda.so.1".into()),
            version: Some("13.1".to_owned()),
            missing: vec!["cuGraphLaunch", "cuEventQuery"],
            rejected: vec![Rejected { path: "/opt/libcuda.so.1".into(), reason: "is cut short".to_owned() }],
        };
        let nvrtc = LibraryFound { name: "nvrtc", ..LibraryFound::default() };
        let unnamed =
            LibraryFound { name: "cublasLt", path: Some("/lib/b".into()), ..LibraryFound::default() };
        let findings = CudaFindings {
            driver: Driver { problem: None, devices: vec![device, DeviceFound::default()] },
            libraries: vec![driver, nvrtc, unnamed],
        };
        let lines: Vec<String> =
            lines(&findings).into_iter().map(|(name, text)| format!("{name}: {text}")).collect();
        assert_eq!(
            lines,
            [
                "cuda: 2 devices",
                "gpu: NVIDIA Test 90, compute capability 9.0, 140.4 GiB, 132 multiprocessors",
                "gpu: without a name",
                "library: libcuda 13.1, /lib/libcuda.so.1; lacks cuGraphLaunch, cuEventQuery",
                ": /opt/libcuda.so.1 is cut short",
                "library: nvrtc not found",
                "library: cublasLt of an unknown version, /lib/b",
                "products: by cublasLt, where it can do what a product asks for",
            ]
        );
        assert_eq!(products(&[]), "by crossloom's own kernels: cublasLt was not found");
    }
}
