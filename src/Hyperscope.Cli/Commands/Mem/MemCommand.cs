namespace Hyperscope.Cli.Commands;

/// <summary>What the memory commands share: an address, physical or virtual.</summary>
internal abstract class MemCommand : ToolCommand
{
    private readonly Argument<ulong> _address = new("address")
    {
        Description = "First byte: guest-physical, or virtual with --virtual",
        CustomParser = Values.Number,
    };

    private readonly Option<bool> _virtual = new("--virtual") { Description = "The address is virtual" };

    private readonly Option<int> _vcpu = new("--vcpu")
    {
        Description = "The vCPU whose page tables translate it",
        HelpName = "index",
        CustomParser = Values.Index,
    };

    /// <summary>Adds the address.</summary>
    protected MemCommand(string name, string description, params Example[] examples)
        : base(name, description, examples)
    {
        Arguments.Add(_address);
        Options.Add(_virtual);
        Options.Add(_vcpu);
    }

    /// <summary>The first byte.</summary>
    protected ulong AddressOf(ParseResult parsed) => parsed.GetValue(_address);

    /// <summary>Reads all of it.</summary>
    protected async Task<byte[]> ReadAsync(IntrospectedVm vm, ParseResult parsed, ulong offset, int length, CancellationToken cancellation)
    {
        byte[] bytes = new byte[length];
        ulong address = AddressOf(parsed) + offset;
        if (parsed.GetValue(_virtual))
            await vm.Vcpu(parsed.GetValue(_vcpu)).ReadVirtualAsync(new Gva(address), bytes, cancellation).ConfigureAwait(false);
        else
            await vm.ReadPhysicalAsync(new Gpa(address), bytes, cancellation).ConfigureAwait(false);
        return bytes;
    }

    /// <summary>Writes all of it.</summary>
    protected async Task WriteAsync(IntrospectedVm vm, ParseResult parsed, byte[] bytes, CancellationToken cancellation)
    {
        if (parsed.GetValue(_virtual))
            await vm.Vcpu(parsed.GetValue(_vcpu)).WriteVirtualAsync(new Gva(AddressOf(parsed)), bytes, cancellation).ConfigureAwait(false);
        else
            await vm.WritePhysicalAsync(new Gpa(AddressOf(parsed)), bytes, cancellation).ConfigureAwait(false);
    }
}
