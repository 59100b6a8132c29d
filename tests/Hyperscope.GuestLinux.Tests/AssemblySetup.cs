// A booted guest keeps a host processor busy.
[assembly: CollectionBehavior(DisableTestParallelization = true)]
