//! Calls that Footage does not make.

/// Methods of a service that answer that there is no such call, in the form that `async_trait` gives
/// methods.
macro_rules! refused {
    ($($name:ident: $request:ident => $reply:ident),* $(,)?) => {$(
        fn $name<'this, 'call>(
            &'this self,
            _: tonic::Request<qdrant_client::qdrant::$request>,
        ) -> std::pin::Pin<Box<
            dyn Future<
                Output = Result<tonic::Response<qdrant_client::qdrant::$reply>, tonic::Status>,
            > + Send + 'call,
        >>
        where
            'this: 'call,
            Self: 'call,
        {
            let why = concat!("a server for tests has no ", stringify!($name));
            Box::pin(async move { Err(tonic::Status::unimplemented(why)) })
        }
    )*};
}

pub(crate) use refused;
