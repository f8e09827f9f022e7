//! What the tests themselves cannot hold, since they forbid unsafe code.

use crash_points::crash_points;

#[crash_points]
unsafe fn read(at: *const u32) -> u32 {
    // SAFETY: the caller says so.
    let value = unsafe {
        let inner = *at;
        inner
    };
    unsafe { *at + value }
}

#[crash_points]
impl Number {
    unsafe fn get(&self) -> u32 {
        let value = self.0;
        value
    }

    #[allow(clippy::missing_safety_doc)]
    async unsafe fn wait(&self) -> u32 {
        std::future::ready(()).await;
        unsafe { self.get() }
    }

    unsafe extern "C" fn from_c(x: u32) -> u32 {
        let y = x;
        y + 1
    }
}

struct Number(u32);

#[crash_points]
unsafe impl Marked for Number {
    fn mark(&self) -> u32 {
        let a = self.0;
        a
    }
}

unsafe trait Marked {
    fn mark(&self) -> u32;
}

#[crash_points]
#[unsafe(no_mangle)]
pub extern "C" fn exported_for_the_test(x: u32) -> u32 {
    let y = x;
    y + 1
}

fn main() {
    let number = Number(1);
    assert_eq!(unsafe { read(&number.0) + number.get() + Number::from_c(1) }, 5);
    assert_eq!(number.mark() + exported_for_the_test(1), 3);
    drop(unsafe { number.wait() });
}
