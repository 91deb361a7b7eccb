//! cuBLASLt's interface: a product described to it, the algorithms it offers for that, and one of them run.
//!
//! The library takes matrices column by column. A matrix that lies row by row is its transpose, so the two sides change places:
//! the library computes `D^T = op(B)^T op(A)^T`, whose rows are our columns, as its bias per row and its rows of what lies before an
//! activation want it.

use std::ffi::{c_int, c_void};
use std::ptr::null_mut;
use std::sync::{Arc, Mutex, PoisonError};

use crossloom_ir::DType;

use super::context::Context;
use crate::probe::{Open, Places, product_library};
use crate::product::{Operands, Product};

type Handle = *mut c_void;
type Create = unsafe extern "C" fn(*mut Handle) -> c_int;
type Destroy = unsafe extern "C" fn(Handle) -> c_int;
type CreateDesc = unsafe extern "C" fn(*mut Handle, c_int, c_int) -> c_int;
type CreateLayout = unsafe extern "C" fn(*mut Handle, c_int, u64, u64, i64) -> c_int;
type Set = unsafe extern "C" fn(Handle, c_int, *const c_void, usize) -> c_int;
type Heuristic = unsafe extern "C" fn(
    Handle,
    Handle,
    Handle,
    Handle,
    Handle,
    Handle,
    Handle,
    c_int,
    *mut Offer,
    *mut c_int,
) -> c_int;
type Check = unsafe extern "C" fn(
    Handle,
    Handle,
    Handle,
    Handle,
    Handle,
    Handle,
    *const Algorithm,
    *mut Offer,
) -> c_int;
type Matmul = unsafe extern "C" fn(
    Handle,
    Handle,
    *const f32,
    *const c_void,
    Handle,
    *const c_void,
    Handle,
    *const f32,
    *const c_void,
    Handle,
    *mut c_void,
    Handle,
    *const Algorithm,
    *mut c_void,
    usize,
    *mut c_void,
) -> c_int;

/// An algorithm, in the library's own words; of one version and one device.
pub(super) type Algorithm = [u64; 8];

/// `cublasLtMatmulHeuristicResult_t`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Offer {
    algorithm: Algorithm,
    workspace: usize,
    status: c_int,
    waves: f32,
    reserved: [c_int; 4],
}

// Numbers of the interface's enumerations.
const R_32F: c_int = 0;
const R_16BF: c_int = 14;
const COMPUTE_32F: c_int = 68;
const COMPUTE_32F_FAST_TF32: c_int = 77;
const DESC_TRANSA: c_int = 3;
const DESC_TRANSB: c_int = 4;
const DESC_EPILOGUE: c_int = 7;
const DESC_BIAS_POINTER: c_int = 8;
const DESC_AUX_POINTER: c_int = 11;
const DESC_AUX_LD: c_int = 12;
const LAYOUT_BATCH_COUNT: c_int = 5;
const LAYOUT_BATCH_OFFSET: c_int = 6;
const PREF_MAX_WORKSPACE: c_int = 1;
const PREF_REDUCTION_MASK: c_int = 3;
const EPILOGUE_DEFAULT: u32 = 1;
const EPILOGUE_BIAS: u32 = 4;
const EPILOGUE_GELU_AUX: u32 = 160;
const EPILOGUE_GELU_AUX_BIAS: u32 = 164;
const EPILOGUE_DGELU: u32 = 192;
/// Our A is the library's B.
const EPILOGUE_BGRADB: u32 = 512;
/// Where sums are split, the parts are kept apart in `f32` and added in one order. What is left out adds them where the result is, as
/// they come, or rounds them before they are added.
const REDUCTION_COMPUTE_TYPE: u32 = 2;
/// An address that is never read, for what the library wants to know of alignment before there are addresses.
const ALIGNED: u64 = 256;

/// The library, open.
pub(super) struct Library {
    version: String,
    handle: Handle,
    destroy: Destroy,
    create_desc: CreateDesc,
    set_desc: Set,
    destroy_desc: Destroy,
    create_layout: CreateLayout,
    set_layout: Set,
    destroy_layout: Destroy,
    create_preference: Create,
    set_preference: Set,
    destroy_preference: Destroy,
    heuristic: Heuristic,
    check: Check,
    matmul: Matmul,
    context: Arc<Context>,
    /// Functions are valid while it is open.
    open: Open,
}

// SAFETY: the handle holds no state of a thread; the library's interface says that it may be used by several at once.
unsafe impl Send for Library {}
// SAFETY: as above.
unsafe impl Sync for Library {}

/// A call that did not give success.
fn checked(function: &str, status: c_int) -> Result<(), String> {
    let name = match status {
        0 => return Ok(()),
        1 => "CUBLAS_STATUS_NOT_INITIALIZED",
        3 => "CUBLAS_STATUS_ALLOC_FAILED",
        7 => "CUBLAS_STATUS_INVALID_VALUE",
        8 => "CUBLAS_STATUS_ARCH_MISMATCH",
        13 => "CUBLAS_STATUS_EXECUTION_FAILED",
        14 => "CUBLAS_STATUS_INTERNAL_ERROR",
        15 => "CUBLAS_STATUS_NOT_SUPPORTED",
        other => return Err(format!("{function}: status {other}")),
    };
    Err(format!("{function}: {name}"))
}

impl Library {
    /// The first one that is found there, for a device.
    ///
    /// # Errors
    /// There is none, it lacks functions, or it does not start.
    pub(super) fn open(context: &Arc<Context>, places: &Places) -> Result<Arc<Self>, String> {
        let (told, open) = product_library(places);
        let rejected = told.rejected.iter().map(|file| format!("; {} {}", file.path.display(), file.reason));
        let rejected: String = rejected.collect();
        let open = open.ok_or_else(|| format!("cublasLt was not found{rejected}"))?;
        if !told.missing.is_empty() {
            return Err(format!("cublasLt lacks {}", told.missing.join(", ")));
        }
        context.enter()?;
        // SAFETY: these are the signatures that the library's interface gives its functions; enumerations are `int`s.
        let found = unsafe {
            (|| {
                Some(Self {
                    version: told.version.unwrap_or_else(|| "unknown".to_owned()),
                    handle: null_mut(),
                    destroy: open.function("cublasLtDestroy")?,
                    create_desc: open.function("cublasLtMatmulDescCreate")?,
                    set_desc: open.function("cublasLtMatmulDescSetAttribute")?,
                    destroy_desc: open.function("cublasLtMatmulDescDestroy")?,
                    create_layout: open.function("cublasLtMatrixLayoutCreate")?,
                    set_layout: open.function("cublasLtMatrixLayoutSetAttribute")?,
                    destroy_layout: open.function("cublasLtMatrixLayoutDestroy")?,
                    create_preference: open.function("cublasLtMatmulPreferenceCreate")?,
                    set_preference: open.function("cublasLtMatmulPreferenceSetAttribute")?,
                    destroy_preference: open.function("cublasLtMatmulPreferenceDestroy")?,
                    heuristic: open.function("cublasLtMatmulAlgoGetHeuristic")?,
                    check: open.function("cublasLtMatmulAlgoCheck")?,
                    matmul: open.function("cublasLtMatmul")?,
                    context: Arc::clone(context),
                    open,
                })
            })()
        };
        let mut this = found.ok_or("cublasLt lacks functions")?;
        // SAFETY: as above.
        let create = unsafe { this.open.function::<Create>("cublasLtCreate") };
        // SAFETY: the context is current; `handle` outlives the call.
        let status = unsafe { create.ok_or("cublasLt lacks cublasLtCreate")?(&raw mut this.handle) };
        checked("cublasLtCreate", status)?;
        Ok(Arc::new(this))
    }

    /// Its version, such as `13.0.2`.
    pub(super) fn version(&self) -> &str {
        &self.version
    }
}

impl Drop for Library {
    fn drop(&mut self) {
        if !self.handle.is_null() && self.context.enter().is_ok() {
            // SAFETY: made once, in `open`.
            unsafe { (self.destroy)(self.handle) };
        }
    }
}

/// A handle that the library made and that is given back.
struct Owned(Handle, Destroy);

impl Drop for Owned {
    fn drop(&mut self) {
        // SAFETY: whoever makes one says that the function takes the handle, once.
        unsafe { (self.1)(self.0) };
    }
}

/// A product as the library knows it.
pub(super) struct Described {
    library: Arc<Library>,
    product: Product,
    /// What is applied; addresses are written into it before a call, which reads them before it returns.
    desc: Mutex<Owned>,
    /// Our B, our A, and what is written and added.
    sides: [Owned; 3],
}

// SAFETY: handles of the library, which any thread may use; what a call changes is behind a lock.
unsafe impl Send for Described {}
// SAFETY: as above.
unsafe impl Sync for Described {}

fn kind(dtype: DType) -> c_int {
    if dtype == DType::Bf16 { R_16BF } else { R_32F }
}

fn set<T: Copy>(function: &str, set: Set, of: &Owned, which: c_int, value: T) -> Result<(), String> {
    // SAFETY: the handle lives; the value is read during the call, as many bytes as it has.
    checked(function, unsafe { set(of.0, which, (&raw const value).cast(), size_of::<T>()) })
}

impl Described {
    /// Describes a product.
    ///
    /// # Errors
    /// The library's words.
    pub(super) fn new(library: &Arc<Library>, product: &Product) -> Result<Self, String> {
        let compute = if product.tf32 { COMPUTE_32F_FAST_TF32 } else { COMPUTE_32F };
        let mut raw = null_mut();
        // SAFETY: `raw` outlives the call.
        checked("cublasLtMatmulDescCreate", unsafe { (library.create_desc)(&raw mut raw, compute, R_32F) })?;
        let desc = Owned(raw, library.destroy_desc);
        let describe =
            |which, value| set("cublasLtMatmulDescSetAttribute", library.set_desc, &desc, which, value);
        describe(DESC_TRANSA, u32::from(product.transpose_b))?;
        describe(DESC_TRANSB, u32::from(product.transpose_a))?;
        let epilogue = match (product.gelu, product.bias) {
            (false, false) => EPILOGUE_DEFAULT,
            (false, true) => EPILOGUE_BIAS,
            (true, false) => EPILOGUE_GELU_AUX,
            (true, true) => EPILOGUE_GELU_AUX_BIAS,
        };
        let epilogue = if product.gelu_slope { EPILOGUE_DGELU } else { epilogue };
        let epilogue = if product.sums { EPILOGUE_BGRADB } else { epilogue };
        describe(DESC_EPILOGUE, epilogue)?;
        let wide =
            |which, value: u64| set("cublasLtMatmulDescSetAttribute", library.set_desc, &desc, which, value);
        if product.bias || product.sums {
            wide(DESC_BIAS_POINTER, ALIGNED)?;
        }
        if product.gelu || product.gelu_slope {
            wide(DESC_AUX_POINTER, ALIGNED)?;
            wide(DESC_AUX_LD, product.n as u64)?;
        }
        let Product { batch, m, n, k, transpose_a, transpose_b, operands, result, .. } = *product;
        // Columns and rows, as they lie in memory.
        let shape_b = if transpose_b { (k, n) } else { (n, k) };
        let shape_a = if transpose_a { (m, k) } else { (k, m) };
        let layout = |dtype: DType, (rows, columns): (usize, usize)| -> Result<Owned, String> {
            let (mut raw, extent) = (null_mut(), |extent: usize| extent as u64);
            // SAFETY: `raw` outlives the call.
            let status = unsafe {
                (library.create_layout)(&raw mut raw, kind(dtype), extent(rows), extent(columns), rows as i64)
            };
            checked("cublasLtMatrixLayoutCreate", status)?;
            let owned = Owned(raw, library.destroy_layout);
            let name = "cublasLtMatrixLayoutSetAttribute";
            set(name, library.set_layout, &owned, LAYOUT_BATCH_COUNT, batch as i32)?;
            set(name, library.set_layout, &owned, LAYOUT_BATCH_OFFSET, (rows * columns) as i64)?;
            Ok(owned)
        };
        let sides = [layout(operands, shape_b)?, layout(operands, shape_a)?, layout(result, (n, m))?];
        Ok(Self { library: Arc::clone(library), product: *product, desc: Mutex::new(desc), sides })
    }

    /// At most so many algorithms, those first that the library thinks the fastest. Their sums have one order.
    ///
    /// # Errors
    /// There is none, or the library fails.
    pub(super) fn offers(&self, most: usize) -> Result<Vec<Algorithm>, String> {
        let library = &*self.library;
        library.context.enter()?;
        let mut raw = null_mut();
        // SAFETY: `raw` outlives the call.
        let status = unsafe { (library.create_preference)(&raw mut raw) };
        checked("cublasLtMatmulPreferenceCreate", status)?;
        let preference = Owned(raw, library.destroy_preference);
        let name = "cublasLtMatmulPreferenceSetAttribute";
        set(name, library.set_preference, &preference, PREF_MAX_WORKSPACE, self.product.workspace())?;
        set(name, library.set_preference, &preference, PREF_REDUCTION_MASK, REDUCTION_COMPUTE_TYPE)?;
        let desc = self.desc.lock().unwrap_or_else(PoisonError::into_inner);
        let [b, a, d] = self.sides.each_ref().map(|side| side.0);
        let (mut offers, mut count) = (vec![Offer::default(); most], 0);
        // SAFETY: all handles live; there is room for as many offers as are asked for.
        let status = unsafe {
            let (asked, into) = (most as c_int, offers.as_mut_ptr());
            (library.heuristic)(library.handle, desc.0, b, a, d, d, preference.0, asked, into, &raw mut count)
        };
        checked("cublasLtMatmulAlgoGetHeuristic", status)?;
        let fits = |offer: &&Offer| offer.status == 0 && offer.workspace <= self.product.workspace();
        let found = offers.iter().take(usize::try_from(count).unwrap_or(0)).filter(fits);
        let found: Vec<Algorithm> = found.map(|offer| offer.algorithm).collect();
        if found.is_empty() { Err("the library has no algorithm for it".to_owned()) } else { Ok(found) }
    }

    /// Whether the library takes an algorithm that was chosen earlier.
    pub(super) fn takes(&self, algorithm: &Algorithm) -> bool {
        let library = &*self.library;
        let desc = self.desc.lock().unwrap_or_else(PoisonError::into_inner);
        let [b, a, d] = self.sides.each_ref().map(|side| side.0);
        let mut offer = Offer::default();
        // SAFETY: all handles live; algorithm and offer outlive the call.
        let status =
            unsafe { (library.check)(library.handle, desc.0, b, a, d, d, algorithm, &raw mut offer) };
        status == 0 && offer.workspace <= self.product.workspace()
    }

    /// Starts it on a stream of the device.
    ///
    /// # Errors
    /// The library's words.
    ///
    /// # Safety
    /// The stream lives, and the addresses are those of whole matrices on the device, as [`Stream::multiply`](crate::Stream::multiply) says.
    pub(super) unsafe fn start(
        &self,
        algorithm: &Algorithm,
        at: &Operands<u64>,
        stream: *mut c_void,
    ) -> Result<(), String> {
        let library = &*self.library;
        let desc = self.desc.lock().unwrap_or_else(PoisonError::into_inner);
        let name = "cublasLtMatmulDescSetAttribute";
        // The library writes sums where it would read a bias.
        if let Some(bias) = at.bias.or(at.sums) {
            set(name, library.set_desc, &desc, DESC_BIAS_POINTER, bias)?;
        }
        if let Some(before) = at.before {
            set(name, library.set_desc, &desc, DESC_AUX_POINTER, before)?;
        }
        let [b, a, d] = self.sides.each_ref().map(|side| side.0);
        let (one, of_added) = (1.0_f32, if at.residual.is_some() { 1.0_f32 } else { 0.0 });
        let pointer = |address: u64| -> *const c_void { std::ptr::without_provenance(address as usize) };
        let added = at.residual.unwrap_or(at.result);
        let result: *mut c_void = std::ptr::without_provenance_mut(at.result as usize);
        let workspace: *mut c_void = std::ptr::without_provenance_mut(at.workspace as usize);
        let bytes = self.product.workspace();
        // SAFETY: all handles live, both factors are read before the call returns, and the caller answers for addresses and stream.
        let status = unsafe {
            (library.matmul)(
                library.handle,
                desc.0,
                &raw const one,
                pointer(at.b),
                b,
                pointer(at.a),
                a,
                &raw const of_added,
                pointer(added),
                d,
                result,
                d,
                algorithm,
                workspace,
                bytes,
                stream,
            )
        };
        checked("cublasLtMatmul", status)
    }
}
