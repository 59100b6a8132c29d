// One guest for all: booting is most of the time.
[assembly: AssemblyFixture(typeof(Hyperscope.Attacks.Tests.LabGuest))]
[assembly: CollectionBehavior(DisableTestParallelization = true)]
