// Each boot keeps as many host processors busy as it has vCPUs.
[assembly: CollectionBehavior(DisableTestParallelization = true)]
