using System.Collections.Concurrent;
using System.Reflection;
using System.Reflection.Emit;
using System.Runtime.CompilerServices;

namespace Hyperscope.Kvmi.Tests;

/// <summary>Finds the bytes of a field by its C path, from the struct itself: the managed offset of each field, not a second table.</summary>
internal static class WireLayout
{
    // Where our word differs from C's. Everything else matches once case and underscores are dropped.
    private static readonly Dictionary<(Type Type, string Path), string> Aliases = new()
    {
        [(typeof(VcpuHeader), "vcpu")] = "index",
        [(typeof(VcpuGetRegisters), "nmsrs")] = "msrcount",
        [(typeof(VcpuInjectException), "nr")] = "vector",
        [(typeof(VmControlEvents), "event")] = "eventid",
        [(typeof(BreakpointEvent), "insnlen")] = "instructionlength",
        [(typeof(DescriptorEvent), "descriptor")] = "table",
        [(typeof(TrapEvent), "nr")] = "vector",
        [(typeof(NewValueReply), "newval")] = "newvalue",
        [(typeof(VcpuGetRegistersReply), "msrs.nmsrs")] = "msrcount",
        [(typeof(VcpuGetRegistersReply), "msrs.pad")] = "msrpadding",
    };

    private static readonly ConcurrentDictionary<Type, IReadOnlyList<(string Path, int Offset, int Size)>> Known = new();

    /// <summary>Every leaf of a struct: its path (normalised), offset and size.</summary>
    public static IReadOnlyList<(string Path, int Offset, int Size)> Leaves(Type type) => Known.GetOrAdd(type, Discover);

    private static IReadOnlyList<(string Path, int Offset, int Size)> Discover(Type type)
    {
        List<(string, int, int)> leaves = [];
        foreach (FieldInfo field in FieldsOf(type))
        {
            string name = Normalise(field.Name);
            int offset = OffsetOf(type, field);
            if (IsLeaf(field.FieldType))
                leaves.Add((name, offset, SizeOf(field.FieldType)));
            else
                leaves.AddRange(Leaves(field.FieldType).Select(leaf => (name + "." + leaf.Path, offset + leaf.Offset, leaf.Size)));
        }

        return leaves;
    }

    /// <summary>Offset and size of one path; throws on a path that names nothing.</summary>
    public static (int Offset, int Size) Find(Type type, string path)
    {
        string normal = Normalise(path);
        if (Aliases.TryGetValue((type, normal), out string? alias))
            normal = alias;
        int bracket = normal.IndexOf('[', StringComparison.Ordinal);
        if (bracket >= 0)
        {
            (int start, _) = Find(type, normal[..bracket]);
            return (start + (8 * int.Parse(normal[(bracket + 1)..^1], System.Globalization.CultureInfo.InvariantCulture)), 8);
        }

        foreach ((string leaf, int offset, int size) in Leaves(type))
        {
            if (leaf == normal || (leaf == "pad" && normal == "padding"))
                return (offset, size);
        }

        // Three u16 of padding in C's kvm_dtable are one path in the vectors.
        if (normal.EndsWith("padding", StringComparison.Ordinal))
        {
            var run = Leaves(type).Where(leaf => leaf.Path.StartsWith(normal, StringComparison.Ordinal)).ToList();
            if (run.Count > 1)
                return (run[0].Offset, run.Sum(leaf => leaf.Size));
        }

        throw new KeyNotFoundException($"{type.Name} has no field for path '{path}'");
    }

    public static int SizeOf(Type type) => (int)typeof(Unsafe).GetMethod(nameof(Unsafe.SizeOf))!.MakeGenericMethod(type).Invoke(null, null)!;

    private static string Normalise(string name) => name.Replace("_", "", StringComparison.Ordinal).ToLowerInvariant();

    private static bool IsLeaf(Type type) =>
        type.IsPrimitive || type.IsEnum || type == typeof(Gpa) || type == typeof(Gva) || type == typeof(Gfn) || type == typeof(VcpuIndex)
        || type.GetCustomAttribute<InlineArrayAttribute>() is not null;

    private static IEnumerable<FieldInfo> FieldsOf(Type type) => type
        .GetFields(BindingFlags.Instance | BindingFlags.Public | BindingFlags.NonPublic)
        .OrderBy(field => field.MetadataToken);

    private static int OffsetOf(Type type, FieldInfo field)
    {
        var method = new DynamicMethod("offset", typeof(int), [type.MakeByRefType()], typeof(WireLayout).Module, skipVisibility: true);
        ILGenerator il = method.GetILGenerator();
        il.Emit(OpCodes.Ldarg_0);
        il.Emit(OpCodes.Ldflda, field);
        il.Emit(OpCodes.Ldarg_0);
        il.Emit(OpCodes.Sub);
        il.Emit(OpCodes.Conv_I4);
        il.Emit(OpCodes.Ret);
        return (int)method.Invoke(null, [Activator.CreateInstance(type)])!;
    }
}
