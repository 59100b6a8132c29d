namespace Hyperscope.GuestLinux;

/// <summary>What following a stack takes to know of code.</summary>
internal interface IStackCode
{
    /// <summary>The unwind entry for an address, or null.</summary>
    ValueTask<OrcEntry?> FindAsync(Gva ip, CancellationToken cancellation);

    /// <summary>Whether an address may be one of code.</summary>
    ValueTask<bool> IsCodeAsync(Gva ip, CancellationToken cancellation);

    /// <summary>The name of an address.</summary>
    ValueTask<string> DescribeAsync(Gva ip, CancellationToken cancellation);
}
