/// Documented.
#[inline]
#[must_use]
pub(crate) unsafe extern "C" fn many<'a, T: ?Sized + 'a, const N: usize>(
    &'a mut self,
    (a, b): (u8, u8),
) -> &'a T
where
    T: Send,
{
    //! Documented inside.
    #![allow(unused)]
    static __CRASH_POINTS: ::crash_points::Function = ::crash_points::Function {
        name: "many",
        module: ::core::module_path!(),
        file: ::core::file!(),
        points: &[
            ::crash_points::Place {
                line: ::core::line!(),
                column: ::core::column!(),
            },
            ::crash_points::Place {
                line: ::core::line!(),
                column: ::core::column!(),
            },
        ],
    };
    ::crash_points::hit(&__CRASH_POINTS, 0u32);
    touch();
    ::crash_points::hit(&__CRASH_POINTS, 1u32);
    &*self.inner
}
