namespace Hyperscope.GuestLinux;

/// <summary>Reads loaded BPF programs.</summary>
internal sealed class BpfReader(LinuxGuest guest, GuestReader reader, Walks walks)
{
    private const string TypePrefix = "BPF_PROG_TYPE_";

    public async Task<List<BpfProgram>> AllAsync(CancellationToken cancellation)
    {
        Btf btf = guest.Btf;
        BtfStruct program = btf.StructOf("bpf_prog");
        BtfSlice slice = program.Slice("jited", "type", "tag", "aux", "bpf_func", "jited_len");
        BtfSlice details = btf.StructOf("bpf_prog_aux").Slice("id", "name", "user");
        var types = new Dictionary<long, string>();
        if (program.TryMember("type", out BtfMember? member))
        {
            foreach ((string name, long value) in member.Type.Enumerators)
                types.TryAdd(value, name.StartsWith(TypePrefix, StringComparison.Ordinal) ? name[TypePrefix.Length..] : name);
        }

        Gva index = guest.Symbols.AddressOf("prog_idr") + (ulong)btf.StructOf("idr").Offset("idr_rt");
        var programs = new List<BpfProgram>();
        foreach ((ulong _, Gva entry) in await walks.XArrayAsync(index, "BPF programs", cancellation).ConfigureAwait(false))
        {
            try
            {
                StructView view = await reader.ReadSliceAsync(slice, entry, cancellation).ConfigureAwait(false);
                StructView aux = await reader.ReadSliceAsync(details, view.Pointer("aux"), cancellation).ConfigureAwait(false);
                uint uid = 0;
                if (Walks.IsPointer(aux.Pointer("user")))
                {
                    uid = await reader.ReadUInt32Async(aux.Pointer("user") + (ulong)btf.StructOf("user_struct").Offset("uid"), cancellation)
                        .ConfigureAwait(false);
                }

                bool isCompiled = view.Unsigned("jited") != 0;
                programs.Add(new BpfProgram(
                    aux.UInt32("id"), aux.Text("name"), types.GetValueOrDefault(view.UInt32("type"), $"{view.UInt32("type")}"),
                    Convert.ToHexStringLower(view.Bytes("tag")), isCompiled ? view.Pointer("bpf_func") : default, isCompiled ? view.UInt32("jited_len") : 0, uid));
            }
            catch (GuestAddressException missing)
            {
                walks.CutOff("a BPF program has no memory", missing.Gva);
            }
        }

        return programs;
    }
}
