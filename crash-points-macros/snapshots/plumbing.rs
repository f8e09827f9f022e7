#[crash_points]
fn wrapped<'a>(&'a self, id: u32) -> Pin<Box<dyn Future<Output = u32> + Send + 'a>> {
    Box::pin(async move {
        if let ::core::option::Option::Some(__ret) = ::core::option::Option::None::<u32> {
            #[allow(unreachable_code)]
            return __ret;
        }
        let __self = self;
        let id = id;
        let __ret: u32 = {
            save(id).await;
            id
        };
        #[allow(unreachable_code)]
        __ret
    })
}
