using System.Collections.Concurrent;
using System.Reflection;

namespace Hyperscope.Kvmi.Tests;

/// <summary>Asks every struct of a message whether it is well formed.</summary>
internal static class WellFormed
{
    private static readonly ConcurrentDictionary<Type, Func<byte[], int, bool>> Checks = new();

    private delegate bool Getter<T>(ref T value);

    public static bool Check(Vector vector, byte[] bytes)
    {
        foreach (WirePart part in WireParts.Of(vector))
        {
            int size = WireLayout.SizeOf(part.Type);
            for (int index = 0; index < part.Repeat; index++)
            {
                int offset = part.Offset + (index * size);
                if (offset + size > bytes.Length || part.Type.IsPrimitive)
                    break;
                if (!Checks.GetOrAdd(part.Type, Make)(bytes, offset))
                    return false;
            }
        }

        return true;
    }

    private static Func<byte[], int, bool> Make(Type type) => typeof(WellFormed)
        .GetMethod(nameof(MakeFor), BindingFlags.Static | BindingFlags.NonPublic)!.MakeGenericMethod(type)
        .CreateDelegate<Func<Func<byte[], int, bool>>>()();

    private static Func<byte[], int, bool> MakeFor<T>()
        where T : unmanaged
    {
        if (typeof(T).GetProperty("IsWellFormed") is not { } property)
            return static (_, _) => true;
        var get = property.GetMethod!.CreateDelegate<Getter<T>>();
        return (bytes, offset) =>
        {
            var value = Message.Read<T>(bytes.AsSpan(offset));
            return get(ref value);
        };
    }
}
