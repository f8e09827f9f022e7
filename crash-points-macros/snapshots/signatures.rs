/// Documented.
#[crash_points]
#[inline]
#[must_use]
pub(crate) unsafe extern "C" fn many<'a, T: ?Sized + 'a, const N: usize>(&'a mut self, (a, b): (u8, u8)) -> &'a T
where
    T: Send,
{
    //! Documented inside.
    #![allow(unused)]
    touch();
    &*self.inner
}
