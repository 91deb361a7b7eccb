//! What the driver says.

use std::ffi::{CStr, c_char, c_int, c_uint};

use serde::Serialize;

use super::library::Open;

/// The driver's answers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Driver {
    /// Why it could not be asked, or does not work.
    pub problem: Option<String>,
    /// Its devices, in its order.
    pub devices: Vec<DeviceFound>,
}

/// A GPU.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct DeviceFound {
    /// Its name, as the driver says it.
    pub name: Option<String>,
    /// Which instructions it has: major and minor number.
    pub compute_capability: Option<(u32, u32)>,
    /// Bytes of its memory.
    pub memory: Option<u64>,
    /// Number of multiprocessors.
    pub multiprocessors: Option<u32>,
    /// The most bytes of shared memory that a block can ask for.
    pub shared_memory: Option<u32>,
}

/// The most devices that are asked one by one.
const MOST: c_int = 64;
/// Numbers of `CUdevice_attribute`.
const MULTIPROCESSORS: c_int = 16;
const CAPABILITY: [c_int; 2] = [75, 76];
const SHARED_MEMORY: c_int = 97;

/// Starts the driver and lists its devices.
pub(super) fn ask(driver: Option<&Open>) -> Driver {
    let Some(driver) = driver else {
        return Driver { problem: Some("there is no driver".to_owned()), devices: Vec::new() };
    };
    match devices(driver) {
        Ok(devices) => Driver { problem: None, devices },
        Err(problem) => Driver { problem: Some(problem), devices: Vec::new() },
    }
}

/// An error of the driver in words.
fn checked(driver: &Open, function: &str, status: c_int) -> Result<(), String> {
    if status == 0 {
        return Ok(());
    }
    // SAFETY: the driver's interface says `CUresult cuGetErrorName(CUresult, const char **)`.
    let get = unsafe {
        driver.function::<unsafe extern "C" fn(c_int, *mut *const c_char) -> c_int>("cuGetErrorName")
    };
    let mut name = std::ptr::null();
    // SAFETY: as above; `name` outlives the call.
    let known = get.is_some_and(|get| unsafe { get(status, &raw mut name) } == 0) && !name.is_null();
    // SAFETY: on success it is one of the driver's own strings, which have an end and live as long as the driver.
    let name = known.then(|| unsafe { CStr::from_ptr(name) }.to_string_lossy().into_owned());
    Err(format!("{function} failed: {}", name.unwrap_or_else(|| format!("error {status}"))))
}

fn devices(driver: &Open) -> Result<Vec<DeviceFound>, String> {
    let lacks = |name: &str| format!("the driver has no {name}");
    // SAFETY: the driver's interface says `CUresult cuInit(unsigned int)`, to be called with 0 before everything else.
    let status = unsafe {
        let init = driver.function::<unsafe extern "C" fn(c_uint) -> c_int>("cuInit");
        init.ok_or_else(|| lacks("cuInit"))?(0)
    };
    checked(driver, "cuInit", status)?;
    let mut count: c_int = 0;
    // SAFETY: the interface says `CUresult cuDeviceGetCount(int *)`; `count` outlives the call.
    let status = unsafe {
        let get = driver.function::<unsafe extern "C" fn(*mut c_int) -> c_int>("cuDeviceGetCount");
        get.ok_or_else(|| lacks("cuDeviceGetCount"))?(&raw mut count)
    };
    checked(driver, "cuDeviceGetCount", status)?;
    if !(0..=MOST).contains(&count) {
        return Err(format!("the driver says that there are {count} devices"));
    }
    (0..count).map(|ordinal| device(driver, ordinal)).collect()
}

fn device(driver: &Open, ordinal: c_int) -> Result<DeviceFound, String> {
    let mut handle: c_int = 0;
    // SAFETY: the interface says `CUresult cuDeviceGet(CUdevice *, int)`, where a `CUdevice` is an `int`.
    let status = unsafe {
        let get = driver.function::<unsafe extern "C" fn(*mut c_int, c_int) -> c_int>("cuDeviceGet");
        get.ok_or_else(|| "the driver has no cuDeviceGet".to_owned())?(&raw mut handle, ordinal)
    };
    checked(driver, "cuDeviceGet", status)?;
    let number = |which: c_int| {
        let mut value: c_int = 0;
        // SAFETY: the interface says `CUresult cuDeviceGetAttribute(int *, CUdevice_attribute, CUdevice)`, where an attribute is
        // an `int`; `value` outlives the call.
        let status = unsafe {
            let get = driver.function::<unsafe extern "C" fn(*mut c_int, c_int, c_int) -> c_int>(
                "cuDeviceGetAttribute",
            )?;
            get(&raw mut value, which, handle)
        };
        (status == 0).then(|| u32::try_from(value).ok()).flatten()
    };
    let capability = CAPABILITY.map(number);
    Ok(DeviceFound {
        name: name(driver, handle),
        compute_capability: capability[0].zip(capability[1]),
        memory: memory(driver, handle),
        multiprocessors: number(MULTIPROCESSORS),
        shared_memory: number(SHARED_MEMORY),
    })
}

fn name(driver: &Open, handle: c_int) -> Option<String> {
    let mut bytes = [0_u8; 256];
    // SAFETY: the interface says `CUresult cuDeviceGetName(char *, int, CUdevice)`, which writes at most as many bytes as it is
    // told; `bytes` has one more and outlives the call.
    let status = unsafe {
        let get =
            driver.function::<unsafe extern "C" fn(*mut c_char, c_int, c_int) -> c_int>("cuDeviceGetName")?;
        get(bytes.as_mut_ptr().cast(), bytes.len() as c_int - 1, handle)
    };
    let name = CStr::from_bytes_until_nul(&bytes).ok().filter(|_| status == 0)?;
    let text = name.to_string_lossy();
    Some(text.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect())
}

fn memory(driver: &Open, handle: c_int) -> Option<u64> {
    let mut bytes = 0_usize;
    // SAFETY: the interface says `CUresult cuDeviceTotalMem_v2(size_t *, CUdevice)`; `bytes` outlives the call.
    let status = unsafe {
        let get =
            driver.function::<unsafe extern "C" fn(*mut usize, c_int) -> c_int>("cuDeviceTotalMem_v2")?;
        get(&raw mut bytes, handle)
    };
    (status == 0).then_some(bytes as u64)
}
