namespace Hyperscope.GuestLinux;

/// <summary>What a symbol file holds.</summary>
/// <param name="Types">Structures and unions.</param>
/// <param name="Enums">Enumerations.</param>
/// <param name="Symbols">Symbols, one of each name.</param>
public sealed record IsfSummary(int Types, int Enums, int Symbols);
