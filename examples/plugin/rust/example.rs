// The action jitter of ../c/example.c in Rust, without dependencies: the same bytes for the same seed.
//
//     rustc -O --crate-type cdylib -C panic=abort example.rs -o example.so
//
// The first part says in Rust what batchmill/plugin.h says in C, as far as this file needs it.
#![allow(non_camel_case_types)]
use std::ffi::CString;
use std::mem::size_of;
use std::os::raw::{c_char, c_int, c_uint, c_void};
use std::ptr::null;

macro_rules! text {
    ($text:expr) => {
        concat!($text, "\0").as_ptr() as *const c_char
    };
}

const ABI: c_uint = 1;
const PARAM_FLOAT: c_uint = 2;
const PARAM_NAME: c_uint = 4;
const RANDOM: c_uint = 2;
const IN_PLACE: c_uint = 16;
const RESULT_OK: c_int = 0;
const FLOAT32: c_uint = 12;

#[repr(C)]
struct Component {
    name: *const c_char,
    dtype: c_uint,
    ragged: bool,
    ndim: c_uint,
    shape: *const u64,
}

#[repr(C)]
struct Param {
    name: *const c_char,
    doc: *const c_char,
    kind: c_uint,
    required: bool,
    fallback: *const c_char,
    min: f64,
    max: f64,
    choices: *const *const c_char,
}

#[repr(C)]
struct Setup {
    host: *const Host,
    type_name: *const c_char,
    where_: *const c_char,
    directory: *const c_char,
    ncomponents: c_uint,
}

#[repr(C)]
struct Call {
    host: *const Host,
    self_: *mut c_void,
    first: u64,
    count: u64,
    nitems: u64,
    items: *const u64,
    epochs: *const u64,
    update: *mut c_void,
    stream: *const c_char,
    seq: u64,
    attempt: u64,
    epoch: u64,
    seed: u64,
    position: c_uint,
}

#[repr(C)]
struct Random {
    host: *const Host,
    state: [u64; 8],
}

type Unused = *const c_void; // functions of the host that are not called here

#[repr(C)]
struct Host {
    size: usize,
    abi: c_uint,
    version: *const c_char,
    param_count: Unused,
    param_integer: Unused,
    param_number: unsafe extern "C" fn(*mut Setup, *const c_char, usize) -> f64,
    param_text: Unused,
    refuse: unsafe extern "C" fn(*mut Setup, *const c_char) -> bool,
    find: Unused,
    require: unsafe extern "C" fn(*mut Setup, *const c_char, usize) -> c_int,
    component: unsafe extern "C" fn(*mut Setup, c_int, *mut Component) -> bool,
    keep: Unused,
    keep_all: unsafe extern "C" fn(*mut Setup) -> bool,
    write: unsafe extern "C" fn(*mut Setup, *const Component, c_int) -> c_int,
    names: Unused,
    name: Unused,
    items: Unused,
    input: unsafe extern "C" fn(*mut Call, c_int, u64, u64, *mut u64) -> *const c_void,
    output: unsafe extern "C" fn(*mut Call, c_int, u64, u64, *mut u64) -> *mut c_void,
    offsets: Unused,
    lengths: Unused,
    fail: unsafe extern "C" fn(*mut Call, i64, *const c_char) -> c_int,
    drop: Unused,
    sleep: Unused,
    defer: Unused,
    finish: Unused,
    random: unsafe extern "C" fn(*mut Call, u64, *mut Random),
    random_u64: Unused,
    random_below: Unused,
    random_uniform: unsafe extern "C" fn(*mut Random) -> f64,
    random_normal: Unused,
}

#[repr(C)]
struct ActionType {
    size: usize,
    name: *const c_char,
    doc: *const c_char,
    flags: c_uint,
    nparams: c_uint,
    params: *const Param,
    open: unsafe extern "C" fn(*mut Setup, *mut *mut c_void) -> bool,
    close: unsafe extern "C" fn(*mut c_void),
    run: unsafe extern "C" fn(*mut Call) -> c_int,
    variable_size: usize,
    merge: Unused,
    nnumbers: c_uint,
    report: Unused,
}

#[repr(C)]
pub struct Plugin {
    size: usize,
    abi: c_uint,
    param_size: usize,
    name: *const c_char,
    version: *const c_char,
    actions: *const *const ActionType,
    sources: *const *const c_void,
}

// Constants of pointers, which nobody writes.
struct Constant<T>(T);
unsafe impl<T> Sync for Constant<T> {}

// ---- The action ----

struct Jitter {
    component: c_int,
    amount: f64,
}

unsafe extern "C" fn jitter_open(setup: *mut Setup, ret_self: *mut *mut c_void) -> bool {
    let host = &*(*setup).host;
    let from = (host.require)(setup, text!("component"), 0);
    let mut component = Component {
        name: null(),
        dtype: 0,
        ragged: false,
        ndim: 0,
        shape: null(),
    };
    (host.component)(setup, from, &mut component);
    if from >= 0 && component.dtype != FLOAT32 {
        return (host.refuse)(setup, text!("expected a float32 component"));
    }
    (host.keep_all)(setup);
    let jitter = Box::new(Jitter {
        component: (host.write)(setup, &component, from),
        amount: (host.param_number)(setup, text!("amount"), 0),
    });
    *ret_self = Box::into_raw(jitter) as *mut c_void;
    true
}

unsafe extern "C" fn jitter_close(self_: *mut c_void) {
    drop(Box::from_raw(self_ as *mut Jitter));
}

unsafe extern "C" fn jitter_run(call: *mut Call) -> c_int {
    let host = &*(*call).host;
    let jitter = &*((*call).self_ as *const Jitter);
    for item in (*call).first..(*call).first + (*call).count {
        let mut random = Random {
            host: null(),
            state: [0; 8],
        };
        let mut n: u64 = 0;
        (host.random)(call, item, &mut random);
        // Pointers, not slices: with IN_PLACE both may be the same memory.
        let from = (host.input)(call, jitter.component, item, 1, &mut n) as *const f32;
        let to = (host.output)(call, jitter.component, item, 1, &mut n) as *mut f32;
        for i in 0..n as usize {
            let x = *from.add(i);
            if x.is_nan() {
                let text = CString::new(format!("element {i} is not a number")).unwrap();
                return (host.fail)(call, item as i64, text.as_ptr());
            }
            let unit = 2.0 * (host.random_uniform)(&mut random) - 1.0;
            *to.add(i) = x + (jitter.amount * unit) as f32;
        }
    }
    RESULT_OK
}

// ---- The tables ----

static JITTER_PARAMS: Constant<[Param; 2]> = Constant([
    Param {
        name: text!("component"),
        doc: text!("the float32 component to change"),
        kind: PARAM_NAME,
        required: true,
        fallback: null(),
        min: 0.0,
        max: 0.0,
        choices: null(),
    },
    Param {
        name: text!("amount"),
        doc: text!("the most that is added or taken away"),
        kind: PARAM_FLOAT,
        required: false,
        fallback: text!("0.1"),
        min: 0.0,
        max: 1e6,
        choices: null(),
    },
]);

static JITTER: Constant<ActionType> = Constant(ActionType {
    size: size_of::<ActionType>(),
    name: text!("jitter"),
    doc: text!("Adds a random number to every element of a float32 component."),
    flags: RANDOM | IN_PLACE,
    nparams: 2,
    params: JITTER_PARAMS.0.as_ptr(),
    open: jitter_open,
    close: jitter_close,
    run: jitter_run,
    variable_size: 0,
    merge: null(),
    nnumbers: 0,
    report: null(),
});

static ACTIONS: Constant<[*const ActionType; 2]> = Constant([&JITTER.0, null()]);

static PLUGIN: Constant<Plugin> = Constant(Plugin {
    size: size_of::<Plugin>(),
    abi: ABI,
    param_size: size_of::<Param>(),
    name: text!("example-rust"),
    version: text!("1.0"),
    actions: ACTIONS.0.as_ptr(),
    sources: null(),
});

#[no_mangle]
pub extern "C" fn batchmill_plugin(abi: c_uint) -> *const Plugin {
    if abi >= ABI {
        &PLUGIN.0
    } else {
        null()
    }
}
