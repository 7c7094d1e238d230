//! Libraries loaded at run time: nothing of a peer is linked, and a peer that is not there is said to be absent.

use std::alloc::Layout;
use std::ffi::{CStr, CString, c_void};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::ptr::NonNull;

/// A loaded library. It stays loaded, so that its functions live as long as the process.
#[derive(Clone, Copy)]
pub(crate) struct Library(NonNull<c_void>);

impl Library {
    /// Loads `path`; its symbols serve nobody else, so that several versions of a library stand side by side.
    pub(crate) fn open(path: &Path) -> Result<Self, String> {
        let name = CString::new(path.as_os_str().as_bytes()).map_err(|error| error.to_string())?;
        // SAFETY: `name` ends with a zero byte; running a library's initialisers is what loading a peer means.
        let handle = unsafe { libc::dlopen(name.as_ptr(), libc::RTLD_NOW | libc::RTLD_LOCAL) };
        NonNull::new(handle).map(Self).ok_or_else(last_error)
    }

    /// The address of `name`.
    pub(crate) fn symbol(&self, name: &CStr) -> Result<NonNull<c_void>, String> {
        // SAFETY: the handle came from `dlopen` and is never closed, `name` ends with a zero byte.
        let address = unsafe { libc::dlsym(self.0.as_ptr(), name.as_ptr()) };
        NonNull::new(address).ok_or_else(last_error)
    }
}

fn last_error() -> String {
    // SAFETY: `dlerror` returns null or a string that lives until the next call of the family; this thread is the only caller.
    let text = unsafe { libc::dlerror().as_ref().map(|text| CStr::from_ptr(text)) };
    text.map_or_else(|| "no reason given".to_owned(), |text| text.to_string_lossy().into_owned())
}

/// A structure of functions found by name in a library: `functions! { struct Api { name(argument types) -> result; } }`.
/// The types are those of the library's header; a call is as unsafe as the library's contract says.
macro_rules! functions {
    ($(#[$doc:meta])* struct $api:ident { $($name:ident($($argument:ty),* $(; $dots:tt)?) $(-> $result:ty)?;)* }) => {
        $(#[$doc])*
        #[allow(non_snake_case)]
        struct $api {
            $($name: unsafe extern "C" fn($($argument),* $(, $dots)?) $(-> $result)?,)*
        }

        impl $api {
            fn find(library: &$crate::peers::library::Library) -> Result<Self, String> {
                Ok(Self {
                    $($name: {
                        let symbol = std::ffi::CString::new(stringify!($name)).expect("a name without zero bytes");
                        let address = library.symbol(&symbol)?;
                        // SAFETY: a function's address as a pointer to a function of the type its header declares.
                        unsafe {
                            std::mem::transmute::<
                                std::ptr::NonNull<std::ffi::c_void>,
                                unsafe extern "C" fn($($argument),* $(, $dots)?) $(-> $result)?,
                            >(address)
                        }
                    },)*
                })
            }
        }
    };
}
pub(crate) use functions;

/// Memory for a library's context: zeroed, aligned for any vector, never freed, as contexts live as long as the process.
pub(crate) fn context(bytes: usize) -> *mut c_void {
    let layout = Layout::from_size_align(bytes.max(1), 64).expect("a size a library asks for");
    // SAFETY: the layout is not empty.
    let memory = unsafe { std::alloc::alloc_zeroed(layout) };
    assert!(!memory.is_null(), "no memory for {bytes} bytes");
    memory.cast()
}
