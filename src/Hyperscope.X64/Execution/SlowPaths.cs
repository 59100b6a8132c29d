namespace Hyperscope.X64.Execution;

/// <summary>Counts of what a vCPU did outside its fast paths since it was made. With one vCPU on an instruction clock they repeat exactly.</summary>
/// <param name="Flushes">Translations were dropped whole.</param>
/// <param name="Walks">The guest's tables were walked.</param>
/// <param name="Lookups">A block was looked for because no link led to it.</param>
/// <param name="Builds">A block was decoded.</param>
/// <param name="Alone">An instruction was executed by itself.</param>
internal readonly record struct SlowPaths(long Flushes, long Walks, long Lookups, long Builds, long Alone);
