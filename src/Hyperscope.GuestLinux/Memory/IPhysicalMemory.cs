namespace Hyperscope.GuestLinux;

/// <summary>Where guest-physical memory comes from.</summary>
internal interface IPhysicalMemory
{
    /// <summary>Reads as far as there is memory.</summary>
    /// <returns>Bytes read, up to the first page without memory.</returns>
    ValueTask<int> TryReadAsync(Gpa gpa, Memory<byte> buffer, CancellationToken cancellation);
}

/// <summary>The memory of a VM at the other end of a connection.</summary>
internal sealed class VmPhysicalMemory(IntrospectedVm vm) : IPhysicalMemory
{
    /// <inheritdoc/>
    public ValueTask<int> TryReadAsync(Gpa gpa, Memory<byte> buffer, CancellationToken cancellation) =>
        vm.TryReadPhysicalAsync(gpa, buffer, cancellation);
}
