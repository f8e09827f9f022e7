#[crash_points]
impl<T: Clone> Trait for crate::Queue<T> {
    const LIMIT: usize = { let a = 1; a };
    type Item = T;

    const fn limit() -> usize {
        let a = 1;
        a
    }

    #[inline]
    fn push(&mut self, item: T) -> Self {
        self.items.push(item);
        Self { items: self.items.clone() }
    }

    async unsafe fn pull(self: Box<Self>) {
        wait().await;
    }

    #[crash_points]
    fn own(&self) {
        once();
    }

    #[unsafe(naked)]
    extern "C" fn bare() {
        naked_asm!("ret")
    }
}

#[crash_points]
impl Trait for &mut (u8, u16) {
    fn f() {
        g();
    }
}
